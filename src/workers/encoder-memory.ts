// How far an encoder's linear memory may grow. An isolate has 128 MB for the JavaScript heap and WASM together, and
// local workerd does not hold anyone to it, so the memory's own maximum does.

export const MAX_MEMORY_BYTES = 96 * 1024 * 1024

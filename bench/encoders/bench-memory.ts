// How far an encoder's linear memory may grow in the benches: a text package of 7 or 8 bits is timed too, and does not fit an
// encoder Worker's memory. The limit of a memory does not change its speed.
export const MAX_BENCH_MEMORY_BYTES = 160 * 1024 * 1024

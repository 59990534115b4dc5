// Worker entries import .wasm files as compiled modules: wrangler's CompiledWasm rule, which is on by default.
// Tools and tests compile them from bytes in Node; workerd refuses that, so the Workers' own types leave it out.

declare module '*.wasm' {
  const module: WebAssembly.Module
  export default module
}

declare namespace WebAssembly {
  function compile(bytes: ArrayBuffer | ArrayBufferView): Promise<WebAssembly.Module>
}

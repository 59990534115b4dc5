// Entry of both kernel builds: what is exported here is what kernels.ts binds.
// The builds differ in one place, the integer tile that gemm.ts picks; every float stage is the same code.

export { addF32 } from './add'
export { attentionF32 } from './attention'
export { embedRowsI8 } from './embed-rows'
export { gemmI8U7 } from './gemm'
export { geluF32 } from './gelu'
export { layerNormF32 } from './layer-norm'
export { quantizeRows } from './quantize-rows'
export { softmaxF32 } from './softmax'

/** First byte past the static data; the arena starts here. */
export function heapBase(): usize {
  return __heap_base
}

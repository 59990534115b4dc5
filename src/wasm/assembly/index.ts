// Entry of both kernel builds: what is exported here is what kernels.ts binds.
// The builds differ in one place, the integer tile that gemm.ts picks; every float stage is the same code.

import { DotKind } from './dot-kind'

export { addF32 } from './add'
export { attention } from './attention'
export { embedRows4, embedRows6, embedRows8 } from './embed-rows'
export { gemm } from './gemm'
export { geluF32 } from './gelu'
export { layerNormF32, layerNormQuantize } from './layer-norm'
export { quantizeRows } from './quantize-rows'

/** First byte past the static data; the arena starts here. */
export function heapBase(): usize {
  return __heap_base
}

/** The dot product that integer sums run on: an index into DOT_KINDS of kernels.ts. */
export function dotKind(): i32 {
  return DotKind.current
}

/** Takes another one than this CPU's best. The plain build has one only. */
export function selectDotKind(kind: i32): void {
  if (ASC_FEATURE_RELAXED_SIMD) DotKind.current = kind
}

// GELU over a buffer; gemm.ts fuses the same formula into its epilogue.

import { VectorMath } from './vector-math'

/** dst[i] = src[i] * Phi(src[i]), f32 [length]; dst may be src. */
export function geluF32(srcPtr: usize, dstPtr: usize, length: i32): void {
  let i: i32 = 0
  for (; i + 4 <= length; i += 4) {
    v128.store(dstPtr, VectorMath.gelu(v128.load(srcPtr)))
    srcPtr += 16
    dstPtr += 16
  }
  const rest = length - i
  if (rest > 0) VectorMath.storeTail(dstPtr, VectorMath.gelu(VectorMath.loadTail(srcPtr, rest, 0)), rest)
}

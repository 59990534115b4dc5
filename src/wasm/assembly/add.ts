// Element-wise addition: residuals and position embeddings.

import { VectorMath } from './vector-math'

/** dst[i] += src[i], f32 [length]. */
export function addF32(dstPtr: usize, srcPtr: usize, length: i32): void {
  let i: i32 = 0
  for (; i + 4 <= length; i += 4) {
    v128.store(dstPtr, f32x4.add(v128.load(dstPtr), v128.load(srcPtr)))
    dstPtr += 16
    srcPtr += 16
  }
  const rest = length - i
  if (rest > 0) {
    const sum = f32x4.add(VectorMath.loadTail(dstPtr, rest, 0), VectorMath.loadTail(srcPtr, rest, 0))
    VectorMath.storeTail(dstPtr, sum, rest)
  }
}

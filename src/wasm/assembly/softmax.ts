// Row softmax of a buffer. attention.ts has its own, over columns of its packed scores.

import { VectorMath } from './vector-math'

/** dst[m][i] = exp(src[m][i] - max_i) / sum_i, f32 [m][length], any length; dst may be src. */
export function softmaxF32(srcPtr: usize, dstPtr: usize, m: i32, length: i32): void {
  const whole = <usize>(length & ~3) * 4
  const rest = length & 3
  for (let row: i32 = 0; row < m; row++) {
    let largest = f32x4.splat(-f32.MAX_VALUE)
    for (let j: usize = 0; j < whole; j += 16) largest = f32x4.max(largest, v128.load(srcPtr + j))
    if (rest) largest = f32x4.max(largest, VectorMath.loadTail(srcPtr + whole, rest, -f32.MAX_VALUE))
    const top = f32x4.splat(VectorMath.max(largest))

    let sum = f32x4.splat(0)
    for (let j: usize = 0; j < whole; j += 16) {
      const weight = VectorMath.exp(f32x4.sub(v128.load(srcPtr + j), top))
      sum = f32x4.add(sum, weight)
      v128.store(dstPtr + j, weight)
    }
    if (rest) {
      // -Infinity in the unused lanes: their weight is exactly 0.
      const weight = VectorMath.exp(f32x4.sub(VectorMath.loadTail(srcPtr + whole, rest, -Infinity), top))
      sum = f32x4.add(sum, weight)
      VectorMath.storeTail(dstPtr + whole, weight, rest)
    }

    const inverse = f32x4.splat(<f32>1 / VectorMath.sum(sum))
    for (let j: usize = 0; j < whole; j += 16) v128.store(dstPtr + j, f32x4.mul(v128.load(dstPtr + j), inverse))
    if (rest) {
      const weight = f32x4.mul(VectorMath.loadTail(dstPtr + whole, rest, 0), inverse)
      VectorMath.storeTail(dstPtr + whole, weight, rest)
    }
    srcPtr += <usize>length * 4
    dstPtr += <usize>length * 4
  }
}

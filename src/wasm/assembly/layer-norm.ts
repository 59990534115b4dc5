// Layer normalization over the last dimension.

import { VectorMath } from './vector-math'

/**
 * dst[m][h] = (src - mean) / sqrt(variance + eps) * gamma[h] + beta[h]; hiddenSize % 4 == 0; dst may be src.
 * Mean first, then the variance of the differences: sum(x^2) - mean^2 loses every digit on rows far from zero.
 */
export function layerNormF32(
  srcPtr: usize,
  dstPtr: usize,
  gammaPtr: usize,
  betaPtr: usize,
  m: i32,
  hiddenSize: i32,
  eps: f32,
): void {
  const rowBytes = <usize>hiddenSize * 4
  for (let row: i32 = 0; row < m; row++) {
    let sum = f32x4.splat(0)
    for (let j: usize = 0; j < rowBytes; j += 16) sum = f32x4.add(sum, v128.load(srcPtr + j))
    const mean = f32x4.splat(VectorMath.sum(sum) / <f32>hiddenSize)
    let squares = f32x4.splat(0)
    for (let j: usize = 0; j < rowBytes; j += 16) {
      const centred = f32x4.sub(v128.load(srcPtr + j), mean)
      squares = f32x4.add(squares, f32x4.mul(centred, centred))
    }
    const variance = VectorMath.sum(squares) / <f32>hiddenSize
    const inverse = f32x4.splat(<f32>1 / sqrt<f32>(variance + eps))
    for (let j: usize = 0; j < rowBytes; j += 16) {
      const unit = f32x4.mul(f32x4.sub(v128.load(srcPtr + j), mean), inverse)
      v128.store(dstPtr + j, f32x4.add(f32x4.mul(unit, v128.load(gammaPtr + j)), v128.load(betaPtr + j)))
    }
    srcPtr += rowBytes
    dstPtr += rowBytes
  }
}

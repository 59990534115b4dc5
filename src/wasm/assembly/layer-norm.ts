// Layer normalization over the last dimension, alone or straight into quantized rows. Four rows at a time: the sums of
// one row alone are a chain in which each addition waits for the one before.

import { RowBlock } from './quantize-rows'
import { VectorMath } from './vector-math'

/** The largest magnitudes of the block in flight, lane by lane. Kernels are not re-entrant. */
const LARGEST = memory.data(64, 16)

/** (src - mean) / sqrt(variance + eps) * gamma + beta of two rows; gamma and beta are loaded once. */
function scalePair(
  src0: usize,
  src1: usize,
  dst0: usize,
  dst1: usize,
  rowBytes: usize,
  gammaPtr: usize,
  betaPtr: usize,
  mean0: v128,
  mean1: v128,
  inverse0: v128,
  inverse1: v128,
  largestPtr: usize,
): void {
  let largest0 = f32x4.splat(0)
  let largest1 = largest0
  const end = src0 + rowBytes
  while (src0 < end) {
    const gamma = v128.load(gammaPtr)
    const beta = v128.load(betaPtr)
    const unit0 = f32x4.mul(f32x4.sub(v128.load(src0), mean0), inverse0)
    const unit1 = f32x4.mul(f32x4.sub(v128.load(src1), mean1), inverse1)
    const value0 = f32x4.add(f32x4.mul(unit0, gamma), beta)
    const value1 = f32x4.add(f32x4.mul(unit1, gamma), beta)
    v128.store(dst0, value0)
    v128.store(dst1, value1)
    largest0 = VectorMath.maxMagnitude(largest0, value0)
    largest1 = VectorMath.maxMagnitude(largest1, value1)
    src0 += 16
    src1 += 16
    dst0 += 16
    dst1 += 16
    gammaPtr += 16
    betaPtr += 16
  }
  v128.store(largestPtr, largest0)
  v128.store(largestPtr, largest1, 16)
}

/**
 * The first `rows` (1..4) rows of a block; returns their largest magnitudes, one a lane. A missing row repeats the first
 * one, or the one before it where it would be written: same values, same place.
 *
 * Mean first, then the variance of the differences: sum(x^2) - mean^2 loses every digit on rows far from zero.
 */
function normBlock(
  srcPtr: usize,
  dstPtr: usize,
  rowBytes: usize,
  rows: i32,
  gammaPtr: usize,
  betaPtr: usize,
  eps: f32,
): v128 {
  const p1 = rows > 1 ? srcPtr + rowBytes : srcPtr
  const p2 = rows > 2 ? p1 + rowBytes : srcPtr
  const p3 = rows > 3 ? p2 + rowBytes : rows > 2 ? p2 : srcPtr
  let s0 = f32x4.splat(0)
  let s1 = s0
  let s2 = s0
  let s3 = s0
  for (let j: usize = 0; j < rowBytes; j += 16) {
    s0 = f32x4.add(s0, v128.load(srcPtr + j))
    s1 = f32x4.add(s1, v128.load(p1 + j))
    s2 = f32x4.add(s2, v128.load(p2 + j))
    s3 = f32x4.add(s3, v128.load(p3 + j))
  }
  const count = f32x4.splat(<f32>(rowBytes / 4))
  const means = f32x4.div(VectorMath.sums(s0, s1, s2, s3), count)
  const m0 = i32x4.shuffle(means, means, 0, 0, 0, 0)
  const m1 = i32x4.shuffle(means, means, 1, 1, 1, 1)
  const m2 = i32x4.shuffle(means, means, 2, 2, 2, 2)
  const m3 = i32x4.shuffle(means, means, 3, 3, 3, 3)
  s0 = f32x4.splat(0)
  s1 = s0
  s2 = s0
  s3 = s0
  for (let j: usize = 0; j < rowBytes; j += 16) {
    let centred = f32x4.sub(v128.load(srcPtr + j), m0)
    s0 = f32x4.add(s0, f32x4.mul(centred, centred))
    centred = f32x4.sub(v128.load(p1 + j), m1)
    s1 = f32x4.add(s1, f32x4.mul(centred, centred))
    centred = f32x4.sub(v128.load(p2 + j), m2)
    s2 = f32x4.add(s2, f32x4.mul(centred, centred))
    centred = f32x4.sub(v128.load(p3 + j), m3)
    s3 = f32x4.add(s3, f32x4.mul(centred, centred))
  }
  const variances = f32x4.div(VectorMath.sums(s0, s1, s2, s3), count)
  const inverses = f32x4.div(f32x4.splat(1), f32x4.sqrt(f32x4.add(variances, f32x4.splat(eps))))
  let i0 = i32x4.shuffle(inverses, inverses, 0, 0, 0, 0)
  let i1 = i32x4.shuffle(inverses, inverses, 1, 1, 1, 1)
  const d1 = rows > 1 ? dstPtr + rowBytes : dstPtr
  scalePair(srcPtr, p1, dstPtr, d1, rowBytes, gammaPtr, betaPtr, m0, m1, i0, i1, LARGEST)
  if (rows > 2) {
    i0 = i32x4.shuffle(inverses, inverses, 2, 2, 2, 2)
    i1 = i32x4.shuffle(inverses, inverses, 3, 3, 3, 3)
    const d2 = d1 + rowBytes
    const d3 = rows > 3 ? d2 + rowBytes : d2
    scalePair(p2, p3, d2, d3, rowBytes, gammaPtr, betaPtr, m2, m3, i0, i1, LARGEST + 32)
  }
  return VectorMath.magnitudes(
    v128.load(LARGEST),
    v128.load(LARGEST, 16),
    v128.load(LARGEST, 32),
    v128.load(LARGEST, 48),
  )
}

/** dst[m][h] = (src - mean) / sqrt(variance + eps) * gamma[h] + beta[h]; hiddenSize % 4 == 0; dst may be src. */
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
  for (let row: i32 = 0; row < m; row += 4) {
    normBlock(srcPtr, dstPtr, rowBytes, min<i32>(4, m - row), gammaPtr, betaPtr, eps)
    srcPtr += rowBytes * 4
    dstPtr += rowBytes * 4
  }
}

/**
 * quantizeRows(layerNormF32(src)) without the rows in between: four of them live in the scratch, in L1.
 * data and scale as quantizeRows writes them; scratch f32 [4][hiddenSize].
 */
export function layerNormQuantize(
  srcPtr: usize,
  gammaPtr: usize,
  betaPtr: usize,
  m: i32,
  hiddenSize: i32,
  eps: f32,
  dataPtr: usize,
  scalePtr: usize,
  scratchPtr: usize,
): void {
  const rowBytes = <usize>hiddenSize * 4
  for (let row: i32 = 0; row < m; row += 4) {
    const rows = min<i32>(4, m - row)
    const absMax = normBlock(srcPtr, scratchPtr, rowBytes, rows, gammaPtr, betaPtr, eps)
    RowBlock.quantize(scratchPtr, rowBytes, rows, absMax, dataPtr, scalePtr)
    srcPtr += rowBytes * 4
    dataPtr += rowBytes
    scalePtr += 16
  }
}

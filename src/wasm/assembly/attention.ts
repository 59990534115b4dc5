// Multi-head self-attention over one sequence of true length: no mask, no padding. Floats in and out; both products
// run on 16-bit integers, which is twice as fast as float and loses less than the 8-bit rows around them.

import { MAX_I16, packRows4, packValues } from './pack-heads'
import { softmaxTiles } from './softmax-tiles'

/** Tile: queries (rows) by keys or head dimensions (columns), as in gemm.ts. */
const QUERIES: i32 = 4
const COLUMNS: i32 = 8

/** 2^31 - 1. */
const MAX_I32: f32 = 2147483647

/** The softmax counts in powers of two: log2(e). */
const LOG2_E: f32 = 1.44269504

/**
 * dst[r][c] = (sum over pairs of a[r] * b[c]) * columnScale[c] * rowFactor[r]: 4 rows by 8 columns of f32.
 *
 *   a [pairs][4 rows][2] i16      b [pairs][8 columns][2] i16
 */
function dotTileI16(
  aPtr: usize,
  bPtr: usize,
  pairs: i32,
  columnScalePtr: usize,
  rowFactorPtr: usize,
  dstPtr: usize,
  dstRowBytes: usize,
  rows: i32,
): void {
  let c00 = i32x4.splat(0)
  let c01 = c00
  let c10 = c00
  let c11 = c00
  let c20 = c00
  let c21 = c00
  let c30 = c00
  let c31 = c00
  const end = aPtr + <usize>pairs * 16
  while (aPtr < end) {
    const b0 = v128.load(bPtr)
    const b1 = v128.load(bPtr, 16)
    const a = v128.load(aPtr)
    let row = i32x4.shuffle(a, a, 0, 0, 0, 0)
    c00 = i32x4.add(c00, i32x4.dot_i16x8_s(row, b0))
    c01 = i32x4.add(c01, i32x4.dot_i16x8_s(row, b1))
    row = i32x4.shuffle(a, a, 1, 1, 1, 1)
    c10 = i32x4.add(c10, i32x4.dot_i16x8_s(row, b0))
    c11 = i32x4.add(c11, i32x4.dot_i16x8_s(row, b1))
    row = i32x4.shuffle(a, a, 2, 2, 2, 2)
    c20 = i32x4.add(c20, i32x4.dot_i16x8_s(row, b0))
    c21 = i32x4.add(c21, i32x4.dot_i16x8_s(row, b1))
    row = i32x4.shuffle(a, a, 3, 3, 3, 3)
    c30 = i32x4.add(c30, i32x4.dot_i16x8_s(row, b0))
    c31 = i32x4.add(c31, i32x4.dot_i16x8_s(row, b1))
    aPtr += 16
    bPtr += 32
  }
  const s0 = v128.load(columnScalePtr)
  const s1 = v128.load(columnScalePtr, 16)
  const factors = v128.load(rowFactorPtr)
  Scaled.store(dstPtr, c00, c01, s0, s1, i32x4.shuffle(factors, factors, 0, 0, 0, 0))
  if (rows > 1) Scaled.store(dstPtr + dstRowBytes, c10, c11, s0, s1, i32x4.shuffle(factors, factors, 1, 1, 1, 1))
  if (rows > 2) Scaled.store(dstPtr + dstRowBytes * 2, c20, c21, s0, s1, i32x4.shuffle(factors, factors, 2, 2, 2, 2))
  if (rows > 3) Scaled.store(dstPtr + dstRowBytes * 3, c30, c31, s0, s1, i32x4.shuffle(factors, factors, 3, 3, 3, 3))
}

class Scaled {
  @inline static store(dstPtr: usize, sum0: v128, sum1: v128, scale0: v128, scale1: v128, factor: v128): void {
    v128.store(dstPtr, f32x4.mul(f32x4.mul(f32x4.convert_i32x4_s(sum0), scale0), factor))
    v128.store(dstPtr, f32x4.mul(f32x4.mul(f32x4.convert_i32x4_s(sum1), scale1), factor), 16)
  }
}

/** Scores of keys that do not exist, the last `count` of a tile of 4 queries by 8 keys: they weigh nothing. */
function hideKeys(tilePtr: usize, count: i32): void {
  for (let key = COLUMNS - count; key < COLUMNS; key++) {
    for (let r: usize = 0; r < 128; r += 32) store<f32>(tilePtr + r + 4 * key, -Infinity)
  }
}

/**
 * out = softmax(q k^T / sqrt(headDim)) v for each head; q, out f32 [numQueries][numHeads * headDim] and k, v
 * f32 [seqLen][numHeads * headDim], row-major; headDim % 8 == 0, seqLen <= 65536; out may not overlap q, k or v. NaN in
 * q makes its row of the head NaN, in k all of them, in v its column.
 *
 * No sum can overflow int32. q k^T: |q|, |k| <= sqrt(MAX_I32 / headDim). weights * v: the weights of a row add up to at
 * most 32767 + seqLen / 2 <= 65535, and |v| <= 32767.
 *
 * Scratch, in this order (attentionScratchBytes in scratch-bytes.ts counts it):
 *
 *   keys      [keys/8][headDim/2][8 keys][2] i16     this head's k; keys = ceil8(seqLen)
 *   values    [headDim/8][keys/2][8 dimensions][2] i16
 *   queries   [headDim/2][4 queries][2] i16          this block's q
 *   weights   [keys/2][4 queries][2] i16             softmax numerators
 *   scores    [keys/8][4 queries][8 keys] f32        in powers of two
 *   keyScale [keys], valueScale [headDim], queryScale [4], inverse [4] f32
 */
export function attention(
  qPtr: usize,
  kPtr: usize,
  vPtr: usize,
  outPtr: usize,
  numQueries: i32,
  seqLen: i32,
  numHeads: i32,
  headDim: i32,
  scratchPtr: usize,
): void {
  const headBytes = <usize>headDim * 4
  const rowBytes = headBytes * numHeads
  const keys = <usize>((seqLen + 7) & ~7)
  const panelBytes = <usize>headDim * 16
  const valuesPtr = scratchPtr + keys * headDim * 2
  const queriesPtr = valuesPtr + keys * headDim * 2
  const weightsPtr = queriesPtr + headDim * 8
  const scoresPtr = weightsPtr + keys * 8
  const keyScalePtr = scoresPtr + keys * 16
  const valueScalePtr = keyScalePtr + keys * 4
  const queryScalePtr = valueScalePtr + headBytes
  const inversePtr = queryScalePtr + 16
  const pairs = (seqLen + 1) / 2
  const keyLimit = min<f32>(floor<f32>(sqrt<f32>(MAX_I32 / <f32>headDim)) - 1, MAX_I16)
  const factor = LOG2_E / sqrt<f32>(<f32>headDim)
  for (let head: i32 = 0; head < numHeads; head++) {
    for (let key: i32 = 0; key < <i32>keys; key += 4) {
      const panelPtr = scratchPtr + panelBytes * (key / COLUMNS) + 16 * ((key / 4) & 1)
      packRows4(kPtr, rowBytes, key, seqLen, headDim, keyLimit, 1, keyScalePtr + 4 * key, panelPtr, 32)
    }
    packValues(vPtr, rowBytes, seqLen, headDim, valueScalePtr, valuesPtr)
    for (let query: i32 = 0; query < numQueries; query += QUERIES) {
      packRows4(qPtr, rowBytes, query, numQueries, headDim, keyLimit, factor, queryScalePtr, queriesPtr, 16)
      for (let key: i32 = 0; key < <i32>keys; key += COLUMNS) {
        const panelPtr = scratchPtr + panelBytes * (key / COLUMNS)
        const dstPtr = scoresPtr + 16 * key
        dotTileI16(queriesPtr, panelPtr, headDim / 2, keyScalePtr + 4 * key, queryScalePtr, dstPtr, 32, QUERIES)
      }
      hideKeys(scoresPtr + 16 * (keys - COLUMNS), <i32>keys - seqLen)
      softmaxTiles(scoresPtr, <i32>keys / COLUMNS, weightsPtr, inversePtr)
      const rows = min<i32>(QUERIES, numQueries - query)
      const dstPtr = outPtr + <usize>query * rowBytes
      for (let d: i32 = 0; d < headDim; d += COLUMNS) {
        const panelPtr = valuesPtr + <usize>d * pairs * 4
        dotTileI16(weightsPtr, panelPtr, pairs, valueScalePtr + 4 * d, inversePtr, dstPtr + 4 * d, rowBytes, rows)
      }
    }
    qPtr += headBytes
    kPtr += headBytes
    vPtr += headBytes
    outPtr += headBytes
  }
}

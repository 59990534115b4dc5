// Multi-head self-attention in f32 over one sequence of true length: no mask, no padding.
// Eight queries at a time, one query per lane, so softmax needs no sum across lanes.

import { VectorMath } from './vector-math'

/** Queries per block (two vectors) and keys (or head dimensions) per tile. */
const QUERIES: i32 = 8
const KEYS: i32 = 4

class Transpose {
  /** Rows a, b, c, d of 4 floats -> 4 columns, `strideBytes` apart. */
  @inline static store(a: v128, b: v128, c: v128, d: v128, dstPtr: usize, strideBytes: usize): void {
    const ab01 = i32x4.shuffle(a, b, 0, 4, 1, 5)
    const ab23 = i32x4.shuffle(a, b, 2, 6, 3, 7)
    const cd01 = i32x4.shuffle(c, d, 0, 4, 1, 5)
    const cd23 = i32x4.shuffle(c, d, 2, 6, 3, 7)
    v128.store(dstPtr, i64x2.shuffle(ab01, cd01, 0, 2))
    v128.store(dstPtr + strideBytes, i64x2.shuffle(ab01, cd01, 1, 3))
    v128.store(dstPtr + strideBytes * 2, i64x2.shuffle(ab23, cd23, 0, 2))
    v128.store(dstPtr + strideBytes * 3, i64x2.shuffle(ab23, cd23, 1, 3))
  }
}

/**
 * Rows first..first+3 of one head, times `factor`, transposed: dst[headDim][strideBytes / 4], 4 lanes of it.
 * Rows past seqLen repeat the last one: harmless values whose results nobody reads.
 */
function packRows4(
  srcPtr: usize,
  rowBytes: usize,
  first: i32,
  seqLen: i32,
  headDim: i32,
  factor: f32,
  dstPtr: usize,
  strideBytes: usize,
): void {
  const scale = f32x4.splat(factor)
  const last = seqLen - 1
  const p0 = srcPtr + <usize>min<i32>(first, last) * rowBytes
  const p1 = srcPtr + <usize>min<i32>(first + 1, last) * rowBytes
  const p2 = srcPtr + <usize>min<i32>(first + 2, last) * rowBytes
  const p3 = srcPtr + <usize>min<i32>(first + 3, last) * rowBytes
  for (let d: usize = 0; d < <usize>headDim * 4; d += 16) {
    Transpose.store(
      f32x4.mul(v128.load(p0 + d), scale),
      f32x4.mul(v128.load(p1 + d), scale),
      f32x4.mul(v128.load(p2 + d), scale),
      f32x4.mul(v128.load(p3 + d), scale),
      dstPtr,
      strideBytes,
    )
    dstPtr += strideBytes * 4
  }
}

/**
 * dst[y][x] = sum_s x[s][x] * y[s][y]: 4 y by 8 x, steps in ascending order.
 *
 *   x    [steps][8]              lanes: queries
 *   y    [steps][yStride bytes]  the first 4 floats of each step are used
 *   dst  [4][8]
 */
function outerTile(xPtr: usize, yPtr: usize, yStride: usize, steps: i32, dstPtr: usize): void {
  let c00 = f32x4.splat(0)
  let c01 = c00
  let c10 = c00
  let c11 = c00
  let c20 = c00
  let c21 = c00
  let c30 = c00
  let c31 = c00
  const end = xPtr + <usize>steps * 32
  while (xPtr < end) {
    const x0 = v128.load(xPtr)
    const x1 = v128.load(xPtr, 16)
    const y = v128.load(yPtr)
    let one = i32x4.shuffle(y, y, 0, 0, 0, 0)
    c00 = f32x4.add(c00, f32x4.mul(x0, one))
    c01 = f32x4.add(c01, f32x4.mul(x1, one))
    one = i32x4.shuffle(y, y, 1, 1, 1, 1)
    c10 = f32x4.add(c10, f32x4.mul(x0, one))
    c11 = f32x4.add(c11, f32x4.mul(x1, one))
    one = i32x4.shuffle(y, y, 2, 2, 2, 2)
    c20 = f32x4.add(c20, f32x4.mul(x0, one))
    c21 = f32x4.add(c21, f32x4.mul(x1, one))
    one = i32x4.shuffle(y, y, 3, 3, 3, 3)
    c30 = f32x4.add(c30, f32x4.mul(x0, one))
    c31 = f32x4.add(c31, f32x4.mul(x1, one))
    xPtr += 32
    yPtr += yStride
  }
  v128.store(dstPtr, c00)
  v128.store(dstPtr, c01, 16)
  v128.store(dstPtr, c10, 32)
  v128.store(dstPtr, c11, 48)
  v128.store(dstPtr, c20, 64)
  v128.store(dstPtr, c21, 80)
  v128.store(dstPtr, c30, 96)
  v128.store(dstPtr, c31, 112)
}

/** scores[key][query]: softmax numerators over keys in place; 1 / their sum to inverse[8]. */
function softmaxColumns(scoresPtr: usize, keys: i32, inversePtr: usize): void {
  const end = scoresPtr + <usize>keys * 32
  let top0 = f32x4.splat(-f32.MAX_VALUE)
  let top1 = top0
  for (let p = scoresPtr; p < end; p += 32) {
    top0 = f32x4.max(top0, v128.load(p))
    top1 = f32x4.max(top1, v128.load(p, 16))
  }
  let sum0 = f32x4.splat(0)
  let sum1 = sum0
  for (let p = scoresPtr; p < end; p += 32) {
    const weight0 = VectorMath.exp(f32x4.sub(v128.load(p), top0))
    const weight1 = VectorMath.exp(f32x4.sub(v128.load(p, 16), top1))
    sum0 = f32x4.add(sum0, weight0)
    sum1 = f32x4.add(sum1, weight1)
    v128.store(p, weight0)
    v128.store(p, weight1, 16)
  }
  v128.store(inversePtr, f32x4.div(f32x4.splat(1), sum0))
  v128.store(inversePtr, f32x4.div(f32x4.splat(1), sum1), 16)
}

/** tile[4 dimensions][8 queries] * inverse[8] -> 4 floats in each of the first `rows` output rows. */
function storeOutput(tilePtr: usize, inversePtr: usize, dstPtr: usize, rowBytes: usize, rows: i32): void {
  for (let half: usize = 0; half < 32; half += 16) {
    const inverse = v128.load(inversePtr + half)
    Transpose.store(
      f32x4.mul(v128.load(tilePtr + half), inverse),
      f32x4.mul(v128.load(tilePtr + half, 32), inverse),
      f32x4.mul(v128.load(tilePtr + half, 64), inverse),
      f32x4.mul(v128.load(tilePtr + half, 96), inverse),
      tilePtr + 128 + 4 * half,
      16,
    )
  }
  for (let r: i32 = 0; r < rows; r++) v128.store(dstPtr + rowBytes * r, v128.load(tilePtr + 128 + 16 * r))
}

/**
 * out = softmax(q k^T / sqrt(headDim)) v for each head; q, k, v, out f32 [seqLen][numHeads * headDim] row-major;
 * headDim % 4 == 0; out may not overlap q, k or v.
 *
 * Scratch, in this order (attentionScratchBytes in kernels.ts counts it):
 *
 *   keys    [ceil(seqLen/4)][headDim][4 keys]     this head's k, transposed by 4
 *   queries [headDim][8 queries]                  this block's q / sqrt(headDim), transposed
 *   scores  [ceil4(seqLen)][8 queries]            q k^T, then softmax numerators
 *   inverse [8]                                   1 / softmax sums
 *   tile    [4][8], output rows [8][4]
 *
 * v is read in place: 4 floats of a row per step, which is the tile's y operand as it lies.
 */
export function attentionF32(
  qPtr: usize,
  kPtr: usize,
  vPtr: usize,
  outPtr: usize,
  seqLen: i32,
  numHeads: i32,
  headDim: i32,
  scratchPtr: usize,
): void {
  const headBytes = <usize>headDim * 4
  const rowBytes = headBytes * numHeads
  const paddedKeys = <usize>((seqLen + 3) & ~3)
  const queriesPtr = scratchPtr + paddedKeys * headBytes
  const scoresPtr = queriesPtr + headBytes * 8
  const inversePtr = scoresPtr + paddedKeys * 32
  const tilePtr = inversePtr + 32
  const factor: f32 = <f32>1 / sqrt<f32>(<f32>headDim)
  for (let head: i32 = 0; head < numHeads; head++) {
    const column = headBytes * head
    for (let key: i32 = 0; key < seqLen; key += KEYS) {
      packRows4(kPtr + column, rowBytes, key, seqLen, headDim, 1, scratchPtr + headBytes * key, 16)
    }
    for (let query: i32 = 0; query < seqLen; query += QUERIES) {
      packRows4(qPtr + column, rowBytes, query, seqLen, headDim, factor, queriesPtr, 32)
      packRows4(qPtr + column, rowBytes, query + 4, seqLen, headDim, factor, queriesPtr + 16, 32)
      for (let key: i32 = 0; key < seqLen; key += KEYS) {
        outerTile(queriesPtr, scratchPtr + headBytes * key, 16, headDim, scoresPtr + <usize>key * 32)
      }
      softmaxColumns(scoresPtr, seqLen, inversePtr)
      const rows = min<i32>(QUERIES, seqLen - query)
      for (let d: usize = 0; d < headBytes; d += 16) {
        outerTile(scoresPtr, vPtr + column + d, rowBytes, seqLen, tilePtr)
        storeOutput(tilePtr, inversePtr, outPtr + <usize>query * rowBytes + column + d, rowBytes, rows)
      }
    }
  }
}

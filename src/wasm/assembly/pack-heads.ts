// One head's q, k and v as the int16 operands of attention's tiles: symmetric, halves to even, one scale per row of q and
// k and per dimension of v.

import { VectorMath } from './vector-math'

/** 2^-100. A row whose largest magnitude is below it counts as zero: 1 / scale must stay finite. */
const TINY: f32 = 7.888609052210118e-31

/** 2^15 - 1. */
export const MAX_I16: f32 = 32767

/** Dimensions of a panel of values. */
const COLUMNS: i32 = 8

class Pack {
  /** Four values as int32, halves to even. */
  @inline static four(ptr: usize, inverse: v128): v128 {
    return VectorMath.roundToI32(f32x4.mul(v128.load(ptr), inverse))
  }

  /** absMax / limit, or 1 where the maximum counts as zero. */
  @inline static scales(absMax: v128, limit: f32): v128 {
    const isZero = f32x4.lt(absMax, f32x4.splat(TINY))
    return v128.bitselect(f32x4.splat(1), f32x4.div(absMax, f32x4.splat(limit)), isZero)
  }
}

/**
 * Rows first..first+3 of one head as int16 pairs of dimensions, one scale per row:
 *
 *   dst [headDim/2][strideBytes], 16 bytes of it:  r0d0 r0d1 | r1d0 r1d1 | r2d0 r2d1 | r3d0 r3d1
 *
 * Rows past the last one repeat it: harmless values whose results nobody reads.
 */
export function packRows4(
  srcPtr: usize,
  rowBytes: usize,
  first: i32,
  count: i32,
  headDim: i32,
  limit: f32,
  factor: f32,
  scalePtr: usize,
  dstPtr: usize,
  strideBytes: usize,
): void {
  const last = count - 1
  let p0 = srcPtr + <usize>min<i32>(first, last) * rowBytes
  let p1 = srcPtr + <usize>min<i32>(first + 1, last) * rowBytes
  let p2 = srcPtr + <usize>min<i32>(first + 2, last) * rowBytes
  let p3 = srcPtr + <usize>min<i32>(first + 3, last) * rowBytes
  let m0 = f32x4.splat(0)
  let m1 = m0
  let m2 = m0
  let m3 = m0
  const headBytes = <usize>headDim * 4
  for (let d: usize = 0; d < headBytes; d += 16) {
    m0 = VectorMath.maxMagnitude(m0, v128.load(p0 + d))
    m1 = VectorMath.maxMagnitude(m1, v128.load(p1 + d))
    m2 = VectorMath.maxMagnitude(m2, v128.load(p2 + d))
    m3 = VectorMath.maxMagnitude(m3, v128.load(p3 + d))
  }
  const scales = Pack.scales(VectorMath.magnitudes(m0, m1, m2, m3), limit)
  v128.store(scalePtr, f32x4.mul(scales, f32x4.splat(factor)))
  const inverse = f32x4.div(f32x4.splat(1), scales)
  const i0 = i32x4.shuffle(inverse, inverse, 0, 0, 0, 0)
  const i1 = i32x4.shuffle(inverse, inverse, 1, 1, 1, 1)
  const i2 = i32x4.shuffle(inverse, inverse, 2, 2, 2, 2)
  const i3 = i32x4.shuffle(inverse, inverse, 3, 3, 3, 3)
  const end = p0 + headBytes
  while (p0 < end) {
    const low = i16x8.narrow_i32x4_s(Pack.four(p0, i0), Pack.four(p1, i1))
    const high = i16x8.narrow_i32x4_s(Pack.four(p2, i2), Pack.four(p3, i3))
    v128.store(dstPtr, i32x4.shuffle(low, high, 0, 2, 4, 6))
    v128.store(dstPtr + strideBytes, i32x4.shuffle(low, high, 1, 3, 5, 7))
    p0 += 16
    p1 += 16
    p2 += 16
    p3 += 16
    dstPtr += strideBytes * 2
  }
}

/**
 * One head's v as int16 pairs of keys, one scale per dimension; a missing last key counts as zeros:
 *
 *   dst [headDim/8][pairs][8 dimensions][2 keys]      scale f32 [headDim]
 */
export function packValues(
  srcPtr: usize,
  rowBytes: usize,
  seqLen: i32,
  headDim: i32,
  scalePtr: usize,
  dstPtr: usize,
): void {
  const end = srcPtr + <usize>seqLen * rowBytes
  for (let d: i32 = 0; d < headDim; d += COLUMNS) {
    let m0 = f32x4.splat(0)
    let m1 = m0
    for (let p = srcPtr; p < end; p += rowBytes) {
      m0 = VectorMath.maxMagnitude(m0, v128.load(p))
      m1 = VectorMath.maxMagnitude(m1, v128.load(p, 16))
    }
    m0 = Pack.scales(m0, MAX_I16)
    m1 = Pack.scales(m1, MAX_I16)
    v128.store(scalePtr, m0)
    v128.store(scalePtr, m1, 16)
    const i0 = f32x4.div(f32x4.splat(1), m0)
    const i1 = f32x4.div(f32x4.splat(1), m1)
    for (let p = srcPtr; p < end; p += rowBytes * 2) {
      const even = i16x8.narrow_i32x4_s(Pack.four(p, i0), Pack.four(p + 16, i1))
      let odd = i16x8.splat(0)
      if (p + rowBytes < end) {
        odd = i16x8.narrow_i32x4_s(Pack.four(p + rowBytes, i0), Pack.four(p + rowBytes + 16, i1))
      }
      v128.store(dstPtr, i16x8.shuffle(even, odd, 0, 8, 1, 9, 2, 10, 3, 11))
      v128.store(dstPtr, i16x8.shuffle(even, odd, 4, 12, 5, 13, 6, 14, 7, 15), 16)
      dstPtr += 32
    }
    srcPtr += 32
    scalePtr += 32
  }
}

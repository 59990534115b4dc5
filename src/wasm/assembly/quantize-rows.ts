// Float rows to the int8 row blocks that gemmI8U7 reads: symmetric, one scale per row.

import { VectorMath } from './vector-math'

/** 2^-100. A row whose largest magnitude is below it counts as zero: 1 / scale must stay finite. */
const TINY: f32 = 7.888609052210118e-31

/** Row scale: absmax / 127, or 1 for a zero row. */
function rowScale(srcPtr: usize, k: i32): f32 {
  let largest = f32x4.splat(0)
  const end = srcPtr + <usize>k * 4
  for (let p = srcPtr; p < end; p += 16) largest = f32x4.max(largest, f32x4.abs(v128.load(p)))
  const absMax = VectorMath.max(largest)
  return absMax < TINY ? <f32>1 : absMax / <f32>127
}

class Row {
  /** Four values as int32 in -127..127, halves to even; NaN becomes 0 (the row's scale is NaN then). */
  @inline static quantize(ptr: usize, inverse: v128): v128 {
    return i32x4.trunc_sat_f32x4_s(f32x4.nearest(f32x4.mul(v128.load(ptr), inverse)))
  }

  @inline static sum(v: v128): i32 {
    return i32x4.extract_lane(v, 0) + i32x4.extract_lane(v, 1) + (i32x4.extract_lane(v, 2) + i32x4.extract_lane(v, 3))
  }
}

/**
 * src f32 [m][k] -> data i8, scale f32 [ceil4(m)], init i32 [ceil4(m)] = -64 * sum_k data. k % 4 == 0.
 *
 *   data [ceil(m/4)][k/4][4 rows][4 k]
 *
 *   16 bytes:  r0k0 r0k1 r0k2 r0k3 | r1k0 .. | r2k0 .. | r3k0 .. r3k3      one step of one row block
 *
 * Rows past m are zeros with scale 1: they read a row that exists, with factor 0.
 */
export function quantizeRows(srcPtr: usize, m: i32, k: i32, dataPtr: usize, scalePtr: usize, initPtr: usize): void {
  const rowBytes = <usize>k * 4
  for (let row: i32 = 0; row < m; row += 4) {
    const p0 = srcPtr + <usize>row * rowBytes
    const p1 = row + 1 < m ? p0 + rowBytes : p0
    const p2 = row + 2 < m ? p1 + rowBytes : p0
    const p3 = row + 3 < m ? p2 + rowBytes : p0
    const s0 = rowScale(p0, k)
    const s1 = row + 1 < m ? rowScale(p1, k) : <f32>1
    const s2 = row + 2 < m ? rowScale(p2, k) : <f32>1
    const s3 = row + 3 < m ? rowScale(p3, k) : <f32>1
    store<f32>(scalePtr + 4 * row, s0)
    store<f32>(scalePtr + 4 * row, s1, 4)
    store<f32>(scalePtr + 4 * row, s2, 8)
    store<f32>(scalePtr + 4 * row, s3, 12)
    const i0 = f32x4.splat(<f32>1 / s0)
    const i1 = f32x4.splat(row + 1 < m ? <f32>1 / s1 : <f32>0)
    const i2 = f32x4.splat(row + 2 < m ? <f32>1 / s2 : <f32>0)
    const i3 = f32x4.splat(row + 3 < m ? <f32>1 / s3 : <f32>0)
    let sum0 = i32x4.splat(0)
    let sum1 = sum0
    let sum2 = sum0
    let sum3 = sum0
    for (let offset: usize = 0; offset < rowBytes; offset += 16) {
      const q0 = Row.quantize(p0 + offset, i0)
      const q1 = Row.quantize(p1 + offset, i1)
      const q2 = Row.quantize(p2 + offset, i2)
      const q3 = Row.quantize(p3 + offset, i3)
      sum0 = i32x4.add(sum0, q0)
      sum1 = i32x4.add(sum1, q1)
      sum2 = i32x4.add(sum2, q2)
      sum3 = i32x4.add(sum3, q3)
      v128.store(dataPtr, i8x16.narrow_i16x8_s(i16x8.narrow_i32x4_s(q0, q1), i16x8.narrow_i32x4_s(q2, q3)))
      dataPtr += 16
    }
    store<i32>(initPtr + 4 * row, -64 * Row.sum(sum0))
    store<i32>(initPtr + 4 * row, -64 * Row.sum(sum1), 4)
    store<i32>(initPtr + 4 * row, -64 * Row.sum(sum2), 8)
    store<i32>(initPtr + 4 * row, -64 * Row.sum(sum3), 12)
  }
}

// Float rows to the int8 row blocks that gemm reads: symmetric, one scale per row.

import { VectorMath } from './vector-math'

/** 2^-100. A row whose largest magnitude is below it counts as zero: 1 / scale must stay finite. */
const TINY: f32 = 7.888609052210118e-31

const ROW_NUMBERS = memory.data<i32>([0, 1, 2, 3], 16)

class Row {
  /** Four values as int32 in -127..127, halves to even; NaN becomes any (the row's scale is NaN then). */
  @inline static quantize(ptr: usize, inverse: v128): v128 {
    return VectorMath.roundToI32(f32x4.mul(v128.load(ptr), inverse))
  }
}

export class RowBlock {
  /**
   * One block of 4 rows, the first `rows` of them real, to 4 * k bytes at dataPtr and 4 scales: absmax / 127, or 1 for a
   * row of zeros or of padding. `absMax` holds the rows' largest magnitudes.
   *
   *   16 bytes:  r0k0 r0k1 r0k2 r0k3 | r1k0 .. | r2k0 .. | r3k0 .. r3k3      one step of one row block
   *
   * Padding reads a row that exists, with factor 0.
   */
  static quantize(srcPtr: usize, rowBytes: usize, rows: i32, absMax: v128, dataPtr: usize, scalePtr: usize): void {
    const one = f32x4.splat(1)
    const isReal = i32x4.lt_s(v128.load(ROW_NUMBERS), i32x4.splat(rows))
    const hasScale = v128.andnot(isReal, f32x4.lt(absMax, f32x4.splat(TINY)))
    const scales = v128.bitselect(f32x4.div(absMax, f32x4.splat(127)), one, hasScale)
    v128.store(scalePtr, scales)
    const inverses = v128.and(f32x4.div(one, scales), isReal)
    const i0 = i32x4.shuffle(inverses, inverses, 0, 0, 0, 0)
    const i1 = i32x4.shuffle(inverses, inverses, 1, 1, 1, 1)
    const i2 = i32x4.shuffle(inverses, inverses, 2, 2, 2, 2)
    const i3 = i32x4.shuffle(inverses, inverses, 3, 3, 3, 3)
    let p1 = rows > 1 ? srcPtr + rowBytes : srcPtr
    let p2 = rows > 2 ? p1 + rowBytes : srcPtr
    let p3 = rows > 3 ? p2 + rowBytes : srcPtr
    const end = dataPtr + rowBytes
    while (dataPtr < end) {
      const low = i16x8.narrow_i32x4_s(Row.quantize(srcPtr, i0), Row.quantize(p1, i1))
      const high = i16x8.narrow_i32x4_s(Row.quantize(p2, i2), Row.quantize(p3, i3))
      v128.store(dataPtr, i8x16.narrow_i16x8_s(low, high))
      srcPtr += 16
      p1 += 16
      p2 += 16
      p3 += 16
      dataPtr += 16
    }
  }
}

/** Largest magnitude of each row of a block; those of padding are those of its first row. */
function largestOfRows(srcPtr: usize, rowBytes: usize, rows: i32): v128 {
  let p1 = rows > 1 ? srcPtr + rowBytes : srcPtr
  let p2 = rows > 2 ? p1 + rowBytes : srcPtr
  let p3 = rows > 3 ? p2 + rowBytes : srcPtr
  let m0 = i32x4.splat(0)
  let m1 = m0
  let m2 = m0
  let m3 = m0
  const end = srcPtr + rowBytes
  while (srcPtr < end) {
    m0 = VectorMath.maxMagnitude(m0, v128.load(srcPtr))
    m1 = VectorMath.maxMagnitude(m1, v128.load(p1))
    m2 = VectorMath.maxMagnitude(m2, v128.load(p2))
    m3 = VectorMath.maxMagnitude(m3, v128.load(p3))
    srcPtr += 16
    p1 += 16
    p2 += 16
    p3 += 16
  }
  return VectorMath.magnitudes(m0, m1, m2, m3)
}

/**
 * src f32 [m][k] -> data i8 [ceil(m/4)][k/4][4 rows][4 k], scale f32 [ceil4(m)]. k % 4 == 0. Rows past m are zeros with
 * scale 1.
 */
export function quantizeRows(srcPtr: usize, m: i32, k: i32, dataPtr: usize, scalePtr: usize): void {
  const rowBytes = <usize>k * 4
  for (let row: i32 = 0; row < m; row += 4) {
    const rows = min<i32>(4, m - row)
    RowBlock.quantize(srcPtr, rowBytes, rows, largestOfRows(srcPtr, rowBytes, rows), dataPtr, scalePtr)
    srcPtr += rowBytes * 4
    dataPtr += rowBytes
    scalePtr += 16
  }
}

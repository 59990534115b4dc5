// The integer tile of 4-bit codes for x86 without a fused byte dot product: one group is one run of int16 sums, so
// the dear step to int32 comes once a group. Same signature and same integers as tile-fused.ts.

import { TileSums } from './tile-sums'

/** Eight int16 ones: the second factor that adds int16 pairs into int32. */
const ONES = memory.data<i16>([1, 1, 1, 1, 1, 1, 1, 1], 16)

/**
 * What dotTileFused does, with the layouts drawn there, for groups of at most 64 k. `start` holds two int16 a row, the
 * zero point's share of the even and of the odd byte pairs: sums may wrap on the way, since int16 addition is modulo
 * 2^16, and only what is left at the end of a group must fit: 32 products of at most 8 * 127 are 32512.
 */
export function dotTileRuns(
  aPtr: usize,
  wPtr: usize,
  startPtr: usize,
  scalePtr: usize,
  groups: i32,
  groupSteps: i32,
  tilePtr: usize,
): void {
  TileSums.clear(tilePtr)
  for (let group: i32 = 0; group < groups; group++) {
    const start = v128.load(startPtr)
    let c00 = i32x4.shuffle(start, start, 0, 0, 0, 0)
    let c01 = c00
    let c10 = i32x4.shuffle(start, start, 1, 1, 1, 1)
    let c11 = c10
    let c20 = i32x4.shuffle(start, start, 2, 2, 2, 2)
    let c21 = c20
    let c30 = i32x4.shuffle(start, start, 3, 3, 3, 3)
    let c31 = c30
    const end = aPtr + <usize>groupSteps * 16
    while (aPtr < end) {
      const w0 = v128.load(wPtr)
      const w1 = v128.load(wPtr, 16)
      const a = v128.load(aPtr)
      let row = i32x4.shuffle(a, a, 0, 0, 0, 0)
      c00 = i16x8.add(c00, i16x8.relaxed_dot_i8x16_i7x16_s(row, w0))
      c01 = i16x8.add(c01, i16x8.relaxed_dot_i8x16_i7x16_s(row, w1))
      row = i32x4.shuffle(a, a, 1, 1, 1, 1)
      c10 = i16x8.add(c10, i16x8.relaxed_dot_i8x16_i7x16_s(row, w0))
      c11 = i16x8.add(c11, i16x8.relaxed_dot_i8x16_i7x16_s(row, w1))
      row = i32x4.shuffle(a, a, 2, 2, 2, 2)
      c20 = i16x8.add(c20, i16x8.relaxed_dot_i8x16_i7x16_s(row, w0))
      c21 = i16x8.add(c21, i16x8.relaxed_dot_i8x16_i7x16_s(row, w1))
      row = i32x4.shuffle(a, a, 3, 3, 3, 3)
      c30 = i16x8.add(c30, i16x8.relaxed_dot_i8x16_i7x16_s(row, w0))
      c31 = i16x8.add(c31, i16x8.relaxed_dot_i8x16_i7x16_s(row, w1))
      aPtr += 16
      wPtr += 32
    }
    const ones = v128.load(ONES)
    const s0 = v128.load(scalePtr)
    const s1 = v128.load(scalePtr, 16)
    TileSums.add(tilePtr, i32x4.dot_i16x8_s(c00, ones), s0)
    TileSums.add(tilePtr + 16, i32x4.dot_i16x8_s(c01, ones), s1)
    TileSums.add(tilePtr + 32, i32x4.dot_i16x8_s(c10, ones), s0)
    TileSums.add(tilePtr + 48, i32x4.dot_i16x8_s(c11, ones), s1)
    TileSums.add(tilePtr + 64, i32x4.dot_i16x8_s(c20, ones), s0)
    TileSums.add(tilePtr + 80, i32x4.dot_i16x8_s(c21, ones), s1)
    TileSums.add(tilePtr + 96, i32x4.dot_i16x8_s(c30, ones), s0)
    TileSums.add(tilePtr + 112, i32x4.dot_i16x8_s(c31, ones), s1)
    startPtr += 16
    scalePtr += 32
  }
}

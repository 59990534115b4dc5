// The integer tile for x86 without a fused byte dot product: byte pairs into int16, then int16 pairs into int32.
// For codes of 7 bits; tile-quads.ts and tile-runs.ts are faster for fewer. Same signature and same integers as tile-fused.ts.

import { TileSums } from './tile-sums'

/** Eight int16 ones: the second factor that adds int16 pairs into int32. */
const ONES = memory.data<i16>([1, 1, 1, 1, 1, 1, 1, 1], 16)

/**
 * What dotTileFused does, with the layouts drawn there. Weights stay in 0..127, so a pair sum is at most
 * 2 * 127 * 127 = 32258 and fits int16.
 */
export function dotTilePairs(
  aPtr: usize,
  wPtr: usize,
  startPtr: usize,
  scalePtr: usize,
  groups: i32,
  groupSteps: i32,
  tilePtr: usize,
): void {
  const ones = v128.load(ONES)
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
      c00 = i32x4.add(c00, i32x4.dot_i16x8_s(i16x8.relaxed_dot_i8x16_i7x16_s(row, w0), ones))
      c01 = i32x4.add(c01, i32x4.dot_i16x8_s(i16x8.relaxed_dot_i8x16_i7x16_s(row, w1), ones))
      row = i32x4.shuffle(a, a, 1, 1, 1, 1)
      c10 = i32x4.add(c10, i32x4.dot_i16x8_s(i16x8.relaxed_dot_i8x16_i7x16_s(row, w0), ones))
      c11 = i32x4.add(c11, i32x4.dot_i16x8_s(i16x8.relaxed_dot_i8x16_i7x16_s(row, w1), ones))
      row = i32x4.shuffle(a, a, 2, 2, 2, 2)
      c20 = i32x4.add(c20, i32x4.dot_i16x8_s(i16x8.relaxed_dot_i8x16_i7x16_s(row, w0), ones))
      c21 = i32x4.add(c21, i32x4.dot_i16x8_s(i16x8.relaxed_dot_i8x16_i7x16_s(row, w1), ones))
      row = i32x4.shuffle(a, a, 3, 3, 3, 3)
      c30 = i32x4.add(c30, i32x4.dot_i16x8_s(i16x8.relaxed_dot_i8x16_i7x16_s(row, w0), ones))
      c31 = i32x4.add(c31, i32x4.dot_i16x8_s(i16x8.relaxed_dot_i8x16_i7x16_s(row, w1), ones))
      aPtr += 16
      wPtr += 32
    }
    const s0 = v128.load(scalePtr)
    const s1 = v128.load(scalePtr, 16)
    TileSums.add(tilePtr, c00, s0)
    TileSums.add(tilePtr + 16, c01, s1)
    TileSums.add(tilePtr + 32, c10, s0)
    TileSums.add(tilePtr + 48, c11, s1)
    TileSums.add(tilePtr + 64, c20, s0)
    TileSums.add(tilePtr + 80, c21, s1)
    TileSums.add(tilePtr + 96, c30, s0)
    TileSums.add(tilePtr + 112, c31, s1)
    startPtr += 16
    scalePtr += 32
  }
}

// The integer tile of 5- and 6-bit codes for x86 without a fused byte dot product: four products into int16, then int16
// pairs into int32. Same signature and same integers as tile-fused.ts.

import { TileSums } from './tile-sums'

/** Eight int16 ones: the second factor that adds int16 pairs into int32. */
const ONES = memory.data<i16>([1, 1, 1, 1, 1, 1, 1, 1], 16)

/**
 * What dotTileFused does, with the layouts drawn there, two steps at a time: groupSteps is an even number. Codes of 6 bits
 * are at most 63, so the sum of four products is at most 4 * 127 * 63 = 32004 and fits int16; two steps share the dear step
 * to int32.
 *
 * Splat loads, not shuffles: the two steps' weights and the sums leave no register for the activations of both. Bounds
 * checks are shared as in wide-sums.ts.
 */
export function dotTileQuads(
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
    load<u32>(aPtr)
    v128.load(wPtr)
    v128.load(wPtr, 16)
    v128.load(wPtr, 32)
    v128.load(wPtr, 48)
    const end = aPtr + <usize>groupSteps * 16
    while (aPtr < end) {
      const w00 = v128.load(wPtr)
      const w01 = v128.load(wPtr, 16)
      const w10 = v128.load(wPtr, 32)
      const w11 = v128.load(wPtr, 48)
      let row = v128.load32_splat(aPtr)
      let t0 = i16x8.relaxed_dot_i8x16_i7x16_s(row, w00)
      let t1 = i16x8.relaxed_dot_i8x16_i7x16_s(row, w01)
      row = v128.load32_splat(aPtr + 16)
      t0 = i16x8.add(t0, i16x8.relaxed_dot_i8x16_i7x16_s(row, w10))
      t1 = i16x8.add(t1, i16x8.relaxed_dot_i8x16_i7x16_s(row, w11))
      c00 = i32x4.add(c00, i32x4.dot_i16x8_s(t0, ones))
      c01 = i32x4.add(c01, i32x4.dot_i16x8_s(t1, ones))
      row = v128.load32_splat(aPtr + 4)
      t0 = i16x8.relaxed_dot_i8x16_i7x16_s(row, w00)
      t1 = i16x8.relaxed_dot_i8x16_i7x16_s(row, w01)
      row = v128.load32_splat(aPtr + 20)
      t0 = i16x8.add(t0, i16x8.relaxed_dot_i8x16_i7x16_s(row, w10))
      t1 = i16x8.add(t1, i16x8.relaxed_dot_i8x16_i7x16_s(row, w11))
      c10 = i32x4.add(c10, i32x4.dot_i16x8_s(t0, ones))
      c11 = i32x4.add(c11, i32x4.dot_i16x8_s(t1, ones))
      row = v128.load32_splat(aPtr + 8)
      t0 = i16x8.relaxed_dot_i8x16_i7x16_s(row, w00)
      t1 = i16x8.relaxed_dot_i8x16_i7x16_s(row, w01)
      row = v128.load32_splat(aPtr + 24)
      t0 = i16x8.add(t0, i16x8.relaxed_dot_i8x16_i7x16_s(row, w10))
      t1 = i16x8.add(t1, i16x8.relaxed_dot_i8x16_i7x16_s(row, w11))
      c20 = i32x4.add(c20, i32x4.dot_i16x8_s(t0, ones))
      c21 = i32x4.add(c21, i32x4.dot_i16x8_s(t1, ones))
      row = v128.load32_splat(aPtr + 12)
      t0 = i16x8.relaxed_dot_i8x16_i7x16_s(row, w00)
      t1 = i16x8.relaxed_dot_i8x16_i7x16_s(row, w01)
      row = v128.load32_splat(aPtr + 28)
      t0 = i16x8.add(t0, i16x8.relaxed_dot_i8x16_i7x16_s(row, w10))
      t1 = i16x8.add(t1, i16x8.relaxed_dot_i8x16_i7x16_s(row, w11))
      c30 = i32x4.add(c30, i32x4.dot_i16x8_s(t0, ones))
      c31 = i32x4.add(c31, i32x4.dot_i16x8_s(t1, ones))
      aPtr += 32
      wPtr += 64
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

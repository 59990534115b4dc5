// The integer tile for CPUs with a fused byte dot product (x86 VNNI, ARM sdot): mr = 4 rows by nr = 8 columns.
// Relaxed only in name: weights stay in 0..127, so the fused and the two-step instruction give the same integer.

import { TileSums } from './tile-sums'

/**
 * tile[r][c] = sum over groups of scale[g][c] * (start[g][r] + sum_k a[r][k] * w[k][c]), f32; groups in ascending order.
 *
 * One step covers 4 consecutive k:
 *
 *   weights, 32 bytes                     activations, 16 bytes
 *     0..15   columns 0-3, 4 k each         0..15   rows 0-3, 4 k each
 *    16..31   columns 4-7, 4 k each
 *
 *   start [groups][4 rows] i32            scale [groups][8 columns] f32
 *   tile  [4 rows][8 columns] f32, 128 bytes
 *
 * A shuffle repeats one row's 4 k over all lanes; lane = column, so nothing is summed across lanes. One 16-byte load
 * and 4 shuffles for the activations: workerd's V8 checks bounds at every load, which makes 4 splat loads dearer.
 * 8 sums, 4 weights and 2 activations are 14 registers; more would spill on x86. asc keeps this statement order only at
 * -O1 and -O2: at -O3 each sum becomes one long expression and half the speed is lost.
 */
export function dotTileFused(
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
      c00 = i32x4.relaxed_dot_i8x16_i7x16_add_s(row, w0, c00)
      c01 = i32x4.relaxed_dot_i8x16_i7x16_add_s(row, w1, c01)
      row = i32x4.shuffle(a, a, 1, 1, 1, 1)
      c10 = i32x4.relaxed_dot_i8x16_i7x16_add_s(row, w0, c10)
      c11 = i32x4.relaxed_dot_i8x16_i7x16_add_s(row, w1, c11)
      row = i32x4.shuffle(a, a, 2, 2, 2, 2)
      c20 = i32x4.relaxed_dot_i8x16_i7x16_add_s(row, w0, c20)
      c21 = i32x4.relaxed_dot_i8x16_i7x16_add_s(row, w1, c21)
      row = i32x4.shuffle(a, a, 3, 3, 3, 3)
      c30 = i32x4.relaxed_dot_i8x16_i7x16_add_s(row, w0, c30)
      c31 = i32x4.relaxed_dot_i8x16_i7x16_add_s(row, w1, c31)
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

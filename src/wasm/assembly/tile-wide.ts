// The integer tile of plain SIMD128, and of 8-bit weights everywhere: int16 pairs into int32. Takes weights widened to
// int16 by unpack-wide.ts; same integers as tile-fused.ts for the same numbers.

import { TileSums } from './tile-sums'

/**
 * tile[r][c] = sum over groups of scale[g][c] * sum_k a[r][k] * w[k][c], f32; groups in ascending order.
 *
 * Bytes are widened by parity of k, which keeps lane = column. One step covers 4 consecutive k:
 *
 *   bytes of one lane   k0 k1 k2 k3
 *   even                k0    k2      activations << 8 >> 8 (signed)
 *   odd                    k1    k3   activations >> 8 (signed)
 *
 *   weights, 64 bytes: even k of columns 0-3, even k of columns 4-7, odd k of columns 0-3, odd k of columns 4-7
 *
 * Activations, scale and tile as in tile-fused.ts. Weights are signed here, so no sum needs a start.
 */
export function dotTileWide(
  aPtr: usize,
  wPtr: usize,
  scalePtr: usize,
  groups: i32,
  groupSteps: i32,
  tilePtr: usize,
): void {
  TileSums.clear(tilePtr)
  for (let group: i32 = 0; group < groups; group++) {
    let c00 = i32x4.splat(0)
    let c01 = c00
    let c10 = c00
    let c11 = c10
    let c20 = c00
    let c21 = c20
    let c30 = c00
    let c31 = c30
    const end = aPtr + <usize>groupSteps * 16
    while (aPtr < end) {
      const a = v128.load(aPtr)
      const even = i16x8.shr_s(i16x8.shl(a, 8), 8)
      let w0 = v128.load(wPtr)
      let w1 = v128.load(wPtr, 16)
      let row = i32x4.shuffle(even, even, 0, 0, 0, 0)
      c00 = i32x4.add(c00, i32x4.dot_i16x8_s(row, w0))
      c01 = i32x4.add(c01, i32x4.dot_i16x8_s(row, w1))
      row = i32x4.shuffle(even, even, 1, 1, 1, 1)
      c10 = i32x4.add(c10, i32x4.dot_i16x8_s(row, w0))
      c11 = i32x4.add(c11, i32x4.dot_i16x8_s(row, w1))
      row = i32x4.shuffle(even, even, 2, 2, 2, 2)
      c20 = i32x4.add(c20, i32x4.dot_i16x8_s(row, w0))
      c21 = i32x4.add(c21, i32x4.dot_i16x8_s(row, w1))
      row = i32x4.shuffle(even, even, 3, 3, 3, 3)
      c30 = i32x4.add(c30, i32x4.dot_i16x8_s(row, w0))
      c31 = i32x4.add(c31, i32x4.dot_i16x8_s(row, w1))
      const odd = i16x8.shr_s(a, 8)
      w0 = v128.load(wPtr, 32)
      w1 = v128.load(wPtr, 48)
      row = i32x4.shuffle(odd, odd, 0, 0, 0, 0)
      c00 = i32x4.add(c00, i32x4.dot_i16x8_s(row, w0))
      c01 = i32x4.add(c01, i32x4.dot_i16x8_s(row, w1))
      row = i32x4.shuffle(odd, odd, 1, 1, 1, 1)
      c10 = i32x4.add(c10, i32x4.dot_i16x8_s(row, w0))
      c11 = i32x4.add(c11, i32x4.dot_i16x8_s(row, w1))
      row = i32x4.shuffle(odd, odd, 2, 2, 2, 2)
      c20 = i32x4.add(c20, i32x4.dot_i16x8_s(row, w0))
      c21 = i32x4.add(c21, i32x4.dot_i16x8_s(row, w1))
      row = i32x4.shuffle(odd, odd, 3, 3, 3, 3)
      c30 = i32x4.add(c30, i32x4.dot_i16x8_s(row, w0))
      c31 = i32x4.add(c31, i32x4.dot_i16x8_s(row, w1))
      aPtr += 16
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
    scalePtr += 32
  }
}

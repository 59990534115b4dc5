// The inner loop of the wide tiles: 2 rows by 16 columns of int16 pairs into int32, the sums of one stretch of k.

import { TileSums } from './tile-sums'

export class WideSums {
  /**
   * Loads that tile functions repeat before their loops. V8 computes memory size - last byte for the check of every
   * load, and once only where an earlier one was of the same kind: worth 8 % of the tile where bounds are checked.
   */
  @inline static shareBoundsChecks(aPtr: usize, wPtr: usize): void {
    load<u32>(aPtr)
    v128.load(wPtr)
    v128.load(wPtr, 16)
    v128.load(wPtr, 32)
    v128.load(wPtr, 48)
  }

  /**
   * sums[r][c] = from[r][c] + plus[r][c] + sum over the steps of a[r][k] * w[k][c], int32 modulo 2^32; steps of 4 k, an even
   * number of them. The sums go to `to`, and times the scales of their columns they are added to `tile`. 0 stands for none
   * of from, plus, to and tile.
   *
   *   a    [steps][16 bytes]   even k of row 0 | even k of row 1 | odd k of row 0 | odd k of row 1, two int16 each
   *   w    [steps][64 bytes]   int16, even k of columns 0-3, of columns 4-7, odd k of columns 0-3, of columns 4-7
   *   v    the same for columns 8-15
   *   from, plus, to i32 and tile f32   [2 panels][2 rows][8 columns]
   *   scale   [16 columns] f32
   *
   * Splat loads where tile-fused.ts shuffles: 8 of 40 vector instructions fewer, and this tile has no others to spare. An
   * addition to the address, since V8 makes a splat's offset another addition anyway. Inlined, so that the four are constants:
   * those need no bounds checks. 8 sums, 2 rows, a weight and a temporary are 12 registers.
   */
  @inline static accumulate(
    aPtr: usize,
    wPtr: usize,
    vPtr: usize,
    steps: i32,
    from: usize,
    plus: usize,
    to: usize,
    scalePtr: usize,
    tile: usize,
  ): void {
    let c00 = WideSums.start(from, plus, 0)
    let c01 = WideSums.start(from, plus, 16)
    let c10 = WideSums.start(from, plus, 32)
    let c11 = WideSums.start(from, plus, 48)
    let c02 = WideSums.start(from, plus, 64)
    let c03 = WideSums.start(from, plus, 80)
    let c12 = WideSums.start(from, plus, 96)
    let c13 = WideSums.start(from, plus, 112)
    const end = aPtr + <usize>steps * 16
    while (aPtr < end) {
      let row0 = v128.load32_splat(aPtr)
      let row1 = v128.load32_splat(aPtr + 4)
      let w = v128.load(wPtr)
      c00 = i32x4.add(c00, i32x4.dot_i16x8_s(row0, w))
      c10 = i32x4.add(c10, i32x4.dot_i16x8_s(row1, w))
      w = v128.load(wPtr, 16)
      c01 = i32x4.add(c01, i32x4.dot_i16x8_s(row0, w))
      c11 = i32x4.add(c11, i32x4.dot_i16x8_s(row1, w))
      w = v128.load(vPtr)
      c02 = i32x4.add(c02, i32x4.dot_i16x8_s(row0, w))
      c12 = i32x4.add(c12, i32x4.dot_i16x8_s(row1, w))
      w = v128.load(vPtr, 16)
      c03 = i32x4.add(c03, i32x4.dot_i16x8_s(row0, w))
      c13 = i32x4.add(c13, i32x4.dot_i16x8_s(row1, w))
      row0 = v128.load32_splat(aPtr + 8)
      row1 = v128.load32_splat(aPtr + 12)
      w = v128.load(wPtr, 32)
      c00 = i32x4.add(c00, i32x4.dot_i16x8_s(row0, w))
      c10 = i32x4.add(c10, i32x4.dot_i16x8_s(row1, w))
      w = v128.load(wPtr, 48)
      c01 = i32x4.add(c01, i32x4.dot_i16x8_s(row0, w))
      c11 = i32x4.add(c11, i32x4.dot_i16x8_s(row1, w))
      w = v128.load(vPtr, 32)
      c02 = i32x4.add(c02, i32x4.dot_i16x8_s(row0, w))
      c12 = i32x4.add(c12, i32x4.dot_i16x8_s(row1, w))
      w = v128.load(vPtr, 48)
      c03 = i32x4.add(c03, i32x4.dot_i16x8_s(row0, w))
      c13 = i32x4.add(c13, i32x4.dot_i16x8_s(row1, w))
      aPtr += 16
      wPtr += 64
      vPtr += 64
      row0 = v128.load32_splat(aPtr)
      row1 = v128.load32_splat(aPtr + 4)
      w = v128.load(wPtr)
      c00 = i32x4.add(c00, i32x4.dot_i16x8_s(row0, w))
      c10 = i32x4.add(c10, i32x4.dot_i16x8_s(row1, w))
      w = v128.load(wPtr, 16)
      c01 = i32x4.add(c01, i32x4.dot_i16x8_s(row0, w))
      c11 = i32x4.add(c11, i32x4.dot_i16x8_s(row1, w))
      w = v128.load(vPtr)
      c02 = i32x4.add(c02, i32x4.dot_i16x8_s(row0, w))
      c12 = i32x4.add(c12, i32x4.dot_i16x8_s(row1, w))
      w = v128.load(vPtr, 16)
      c03 = i32x4.add(c03, i32x4.dot_i16x8_s(row0, w))
      c13 = i32x4.add(c13, i32x4.dot_i16x8_s(row1, w))
      row0 = v128.load32_splat(aPtr + 8)
      row1 = v128.load32_splat(aPtr + 12)
      w = v128.load(wPtr, 32)
      c00 = i32x4.add(c00, i32x4.dot_i16x8_s(row0, w))
      c10 = i32x4.add(c10, i32x4.dot_i16x8_s(row1, w))
      w = v128.load(wPtr, 48)
      c01 = i32x4.add(c01, i32x4.dot_i16x8_s(row0, w))
      c11 = i32x4.add(c11, i32x4.dot_i16x8_s(row1, w))
      w = v128.load(vPtr, 32)
      c02 = i32x4.add(c02, i32x4.dot_i16x8_s(row0, w))
      c12 = i32x4.add(c12, i32x4.dot_i16x8_s(row1, w))
      w = v128.load(vPtr, 48)
      c03 = i32x4.add(c03, i32x4.dot_i16x8_s(row0, w))
      c13 = i32x4.add(c13, i32x4.dot_i16x8_s(row1, w))
      aPtr += 16
      wPtr += 64
      vPtr += 64
    }
    if (to) {
      v128.store(to, c00)
      v128.store(to, c01, 16)
      v128.store(to, c10, 32)
      v128.store(to, c11, 48)
      v128.store(to, c02, 64)
      v128.store(to, c03, 80)
      v128.store(to, c12, 96)
      v128.store(to, c13, 112)
    }
    if (tile) {
      const s0 = v128.load(scalePtr)
      const s1 = v128.load(scalePtr, 16)
      const s2 = v128.load(scalePtr, 32)
      const s3 = v128.load(scalePtr, 48)
      TileSums.add(tile, c00, s0)
      TileSums.add(tile + 16, c01, s1)
      TileSums.add(tile + 32, c10, s0)
      TileSums.add(tile + 48, c11, s1)
      TileSums.add(tile + 64, c02, s2)
      TileSums.add(tile + 80, c03, s3)
      TileSums.add(tile + 96, c12, s2)
      TileSums.add(tile + 112, c13, s3)
    }
  }

  /** tile f32 += (x + y) times the scales of the columns; x, y i32, all drawn like `to`; x, y and tile are constants. */
  @inline static addScaled(x: usize, y: usize, scalePtr: usize, tile: usize): void {
    for (let panel: usize = 0; panel < 2; panel++) {
      for (let c: usize = 0; c < 32; c += 16) {
        const scales = v128.load(scalePtr + (panel << 5) + c)
        const offset = (panel << 6) + c
        TileSums.add(tile + offset, WideSums.start(x, y, offset), scales)
        TileSums.add(tile + offset + 32, WideSums.start(x, y, offset + 32), scales)
      }
    }
  }

  /** What a vector of sums starts from: nothing, from, or from + plus. */
  @inline static start(from: usize, plus: usize, offset: usize): v128 {
    if (!from) return i32x4.splat(0)
    if (!plus) return v128.load(from + offset)
    return i32x4.add(v128.load(from + offset), v128.load(plus + offset))
  }
}

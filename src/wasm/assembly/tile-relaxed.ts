// The integer tile of the relaxed-SIMD build: mr = 4 rows by nr = 8 columns of int32 sums.
// Relaxed only in name: weights stay in 0..127, so a pair sum is at most 2 * 127 * 127 = 32258, fits int16,
// and every CPU gives the same integer.

/** Eight int16 ones: the second factor that adds int16 pairs into int32. */
const ONES = memory.data<i16>([1, 1, 1, 1, 1, 1, 1, 1], 16)

/**
 * tile[r][c] = init[r] + sum_k a[r][k] * w[k][c], exact.
 *
 * One step covers 4 consecutive k:
 *
 *   weights, 32 bytes                     activations, 16 bytes
 *     0..15   columns 0-3, 4 k each         0..15   rows 0-3, 4 k each
 *    16..31   columns 4-7, 4 k each
 *
 *   tile, 128 bytes: [4 rows][8 columns] i32
 *
 * A shuffle repeats one row's 4 k over all lanes; lane = column, so nothing is summed across lanes. One 16-byte load
 * and 4 shuffles for the activations: workerd's V8 checks bounds at every load, which makes 4 splat loads dearer.
 * 8 sums, 2 weights, 2 activations, `ones` and a temporary are 14 registers; more would spill on x86. asc keeps this
 * statement order only at -O1 and -O2: at -O3 each sum becomes one long expression and half the speed is lost.
 */
export function dotTileRelaxed(aPtr: usize, wPtr: usize, initPtr: usize, steps: i32, tilePtr: usize): void {
  const ones = v128.load(ONES)
  let c00 = v128.load32_splat(initPtr)
  let c01 = c00
  let c10 = v128.load32_splat(initPtr, 4)
  let c11 = c10
  let c20 = v128.load32_splat(initPtr, 8)
  let c21 = c20
  let c30 = v128.load32_splat(initPtr, 12)
  let c31 = c30
  const end = aPtr + <usize>steps * 16
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
  v128.store(tilePtr, c00)
  v128.store(tilePtr, c01, 16)
  v128.store(tilePtr, c10, 32)
  v128.store(tilePtr, c11, 48)
  v128.store(tilePtr, c20, 64)
  v128.store(tilePtr, c21, 80)
  v128.store(tilePtr, c30, 96)
  v128.store(tilePtr, c31, 112)
}

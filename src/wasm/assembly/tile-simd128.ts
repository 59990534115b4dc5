// The integer tile of the plain-SIMD128 build, for engines without relaxed SIMD: same bytes in, same integers out
// as tile-relaxed.ts.

/** Keeps the low (even) byte of each int16: zero-extended even weights. */
const LOW_BYTES = memory.data<i16>([255, 255, 255, 255, 255, 255, 255, 255], 16)

/**
 * tile[r][c] = init[r] + sum_k a[r][k] * w[k][c], exact. Layouts as in tile-relaxed.ts.
 *
 * Bytes are widened to int16 by parity of k, which keeps lane = column:
 *
 *   bytes of one lane   k0 k1 k2 k3
 *   even                k0    k2      weights & 0x00ff,  activations << 8 >> 8 (signed)
 *   odd                    k1    k3   weights >> 8,      activations >> 8 (signed)
 *
 * dot_i16x8_s(even) gives k0 + k2, dot_i16x8_s(odd) gives k1 + k3 of each column. Weights are loaded once per parity:
 * keeping both widened forms beside 8 sums would spill.
 */
export function dotTileSimd128(aPtr: usize, wPtr: usize, initPtr: usize, steps: i32, tilePtr: usize): void {
  const lowBytes = v128.load(LOW_BYTES)
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
    let w0 = v128.and(v128.load(wPtr), lowBytes)
    let w1 = v128.and(v128.load(wPtr, 16), lowBytes)
    let a = i16x8.shr_s(i16x8.shl(v128.load(aPtr), 8), 8)
    let row = i32x4.shuffle(a, a, 0, 0, 0, 0)
    c00 = i32x4.add(c00, i32x4.dot_i16x8_s(row, w0))
    c01 = i32x4.add(c01, i32x4.dot_i16x8_s(row, w1))
    row = i32x4.shuffle(a, a, 1, 1, 1, 1)
    c10 = i32x4.add(c10, i32x4.dot_i16x8_s(row, w0))
    c11 = i32x4.add(c11, i32x4.dot_i16x8_s(row, w1))
    row = i32x4.shuffle(a, a, 2, 2, 2, 2)
    c20 = i32x4.add(c20, i32x4.dot_i16x8_s(row, w0))
    c21 = i32x4.add(c21, i32x4.dot_i16x8_s(row, w1))
    row = i32x4.shuffle(a, a, 3, 3, 3, 3)
    c30 = i32x4.add(c30, i32x4.dot_i16x8_s(row, w0))
    c31 = i32x4.add(c31, i32x4.dot_i16x8_s(row, w1))

    w0 = i16x8.shr_u(v128.load(wPtr), 8)
    w1 = i16x8.shr_u(v128.load(wPtr, 16), 8)
    a = i16x8.shr_s(v128.load(aPtr), 8)
    row = i32x4.shuffle(a, a, 0, 0, 0, 0)
    c00 = i32x4.add(c00, i32x4.dot_i16x8_s(row, w0))
    c01 = i32x4.add(c01, i32x4.dot_i16x8_s(row, w1))
    row = i32x4.shuffle(a, a, 1, 1, 1, 1)
    c10 = i32x4.add(c10, i32x4.dot_i16x8_s(row, w0))
    c11 = i32x4.add(c11, i32x4.dot_i16x8_s(row, w1))
    row = i32x4.shuffle(a, a, 2, 2, 2, 2)
    c20 = i32x4.add(c20, i32x4.dot_i16x8_s(row, w0))
    c21 = i32x4.add(c21, i32x4.dot_i16x8_s(row, w1))
    row = i32x4.shuffle(a, a, 3, 3, 3, 3)
    c30 = i32x4.add(c30, i32x4.dot_i16x8_s(row, w0))
    c31 = i32x4.add(c31, i32x4.dot_i16x8_s(row, w1))
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

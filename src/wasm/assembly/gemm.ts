// Quantized matrix product with its float epilogue: dequantize, bias, optional GELU, optional residual add.
// The integer tile comes from tile-relaxed.ts or tile-simd128.ts; a faster tile is a new file with the same signature.

import { dotTileRelaxed } from './tile-relaxed'
import { dotTileSimd128 } from './tile-simd128'
import { VectorMath } from './vector-math'

/** Rows and columns of one tile; QuantizedRows and packed weights are laid out for them. */
const MR: i32 = 4
const NR: i32 = 8

/** Integer sums of the tile in flight. Kernels are not re-entrant: one memory, one caller. */
const TILE = memory.data(128, 16)

/**
 * out[m][n] = (init[m] + sum_k a[m][k] w[k][n]) * aScale[m] * wScale[n] + bias[n], f32 row-major; then GELU when
 * `hasGelu` is 1; then out += that when `isAccumulating` is 1. Rows from m on are never written.
 *
 *   a   [ceil(m/4)][k/4][4 rows][4 k]      i8, rows past m are zeros
 *   w   [n/8][k/4][8 columns][4 k]         u8 = q + 64, 1..127
 *   init[ceil4(m)] i32 = -64 * sum_k a     cancels the 64 in every weight
 *
 * Panels (8 columns) are the outer loop: a panel of 8 k bytes stays in L1 while all row blocks pass.
 */
export function gemmI8U7(
  aPtr: usize,
  aScalePtr: usize,
  initPtr: usize,
  wPtr: usize,
  wScalePtr: usize,
  biasPtr: usize,
  outPtr: usize,
  m: i32,
  n: i32,
  k: i32,
  hasGelu: i32,
  isAccumulating: i32,
): void {
  const steps = k / 4
  for (let column: i32 = 0; column < n; column += NR) {
    const panelPtr = wPtr + <usize>column * k
    for (let row: i32 = 0; row < m; row += MR) {
      const blockPtr = aPtr + <usize>row * k
      if (ASC_FEATURE_RELAXED_SIMD) {
        dotTileRelaxed(blockPtr, panelPtr, initPtr + 4 * row, steps, TILE)
      } else {
        dotTileSimd128(blockPtr, panelPtr, initPtr + 4 * row, steps, TILE)
      }
      const rows = min<i32>(MR, m - row)
      for (let r: i32 = 0; r < rows; r++) {
        const aScale = v128.load32_splat(aScalePtr + 4 * (row + r))
        const dstPtr = outPtr + 4 * (<usize>(row + r) * n + column)
        for (let half: usize = 0; half < 32; half += 16) {
          let y = f32x4.convert_i32x4_s(v128.load(TILE + 32 * r + half))
          y = f32x4.mul(f32x4.mul(y, aScale), v128.load(wScalePtr + 4 * column + half))
          y = f32x4.add(y, v128.load(biasPtr + 4 * column + half))
          if (hasGelu) y = VectorMath.gelu(y)
          if (isAccumulating) y = f32x4.add(v128.load(dstPtr + half), y)
          v128.store(dstPtr + half, y)
        }
      }
    }
  }
}

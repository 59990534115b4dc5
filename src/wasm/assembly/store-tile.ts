// The float epilogue of every integer tile: row scale, bias, optional GELU, optional residual add.

import { VectorMath } from './vector-math'

/** A tile f32 [rows][8 columns] to dst, rows `n` floats apart; gemm.ts says what is computed. */
export function storeTile(
  tilePtr: usize,
  aScalePtr: usize,
  biasPtr: usize,
  dstPtr: usize,
  n: i32,
  rows: i32,
  hasGelu: i32,
  isAccumulating: i32,
): void {
  const bias0 = v128.load(biasPtr)
  const bias1 = v128.load(biasPtr, 16)
  for (let r: i32 = 0; r < rows; r++) {
    const aScale = v128.load32_splat(aScalePtr)
    let y0 = f32x4.add(f32x4.mul(v128.load(tilePtr), aScale), bias0)
    let y1 = f32x4.add(f32x4.mul(v128.load(tilePtr, 16), aScale), bias1)
    if (hasGelu) {
      y0 = VectorMath.gelu(y0)
      y1 = VectorMath.gelu(y1)
    }
    if (isAccumulating) {
      y0 = f32x4.add(v128.load(dstPtr), y0)
      y1 = f32x4.add(v128.load(dstPtr, 16), y1)
    }
    v128.store(dstPtr, y0)
    v128.store(dstPtr, y1, 16)
    tilePtr += 32
    aScalePtr += 4
    dstPtr += 4 * <usize>n
  }
}

// The last Linear of an encoder: token 0 after the final LayerNorm into the space that texts and images share.
import { allocQuantizedRows } from '../wasm/quantized-rows.ts'
import type { QuantizedRows } from '../wasm/quantized-rows.ts'
import type { Kernels, PackedWeight } from '../wasm/kernels.ts'
import { MR, rowOffset } from '../wasm/pack.ts'
import { BYTES_PER_F32 } from './activations.ts'

/**
 * srcPtr f32 [count, hiddenSize] -> dstPtr f32 [count, projectionSize], both in linear memory; srcPtr is overwritten,
 * scratch is given back.
 *
 * The rows go through twice, as int8 and as int8 of what the first rounding left: 15 bits instead of 8. It is one row
 * an input, and its rounding would go into the vector undiminished: on the stand-in's pictures, whose final LayerNorm
 * has outlier channels, 8 bits alone cost 0.0009 of the cosine to fp32.
 */
export function projectRows(
  kernels: Kernels,
  projection: PackedWeight,
  srcPtr: number,
  dstPtr: number,
  count: number,
): void {
  const { arena } = kernels
  const { k, n } = projection
  const mark = arena.mark()
  try {
    const quantized = allocQuantizedRows(arena, count, k)
    const zeroBiasPtr = arena.alloc(n * BYTES_PER_F32)
    kernels.f32(zeroBiasPtr, n).fill(0)
    kernels.quantizeRows(srcPtr, count, k, quantized)
    kernels.gemm(quantized, projection, dstPtr)
    subtractQuantized(kernels, quantized, srcPtr)
    kernels.quantizeRows(srcPtr, count, k, quantized)
    kernels.gemm(quantized, { ...projection, biasPtr: zeroBiasPtr }, dstPtr, { accumulate: true })
  } finally {
    arena.release(mark)
  }
}

/** rows f32 [m, k] -= the numbers that `quantized` holds for them. */
function subtractQuantized(kernels: Kernels, { dataPtr, scalePtr, m, k }: QuantizedRows, rowsPtr: number): void {
  const rows = kernels.f32(rowsPtr, m * k)
  const scales = kernels.f32(scalePtr, m)
  const values = kernels.i8(dataPtr, Math.ceil(m / MR) * MR * k)
  for (let row = 0; row < m; row += 1) {
    const scale = scales[row] ?? 0
    for (let i = 0; i < k; i += 1) {
      const at = row * k + i
      rows[at] = (rows[at] ?? 0) - (values[rowOffset(row, i, k)] ?? 0) * scale
    }
  }
}

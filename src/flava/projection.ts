// The last Linear of an encoder: token 0 after the final LayerNorm into the space that texts and images share.
import { allocQuantizedRows } from '../wasm/kernels.ts'
import type { Kernels } from '../wasm/kernels.ts'
import type { LinearWeights } from './weights.ts'

/** srcPtr f32 [count, hiddenSize] -> dstPtr f32 [count, projectionSize], both in linear memory; allocates scratch only. */
export function projectRows(
  kernels: Kernels,
  projection: LinearWeights,
  srcPtr: number,
  dstPtr: number,
  count: number,
): void {
  const mark = kernels.arena.mark()
  try {
    const quantized = allocQuantizedRows(kernels.arena, count, projection.k)
    kernels.quantizeRows(srcPtr, count, projection.k, quantized)
    kernels.gemmI8U7(quantized, projection, dstPtr)
  } finally {
    kernels.arena.release(mark)
  }
}

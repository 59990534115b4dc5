// The feed-forward half of one block, pre-LN and with its residual: h += output(gelu(intermediate(LN(h)))).
import { allocQuantizedRows } from '../wasm/quantized-rows.ts'
import type { Kernels, PackedWeight } from '../wasm/kernels.ts'
import { BYTES_PER_F32 } from './activations.ts'
import type { Activations } from './activations.ts'
import type { EncoderConfig } from './config.ts'
import type { LayerNormWeights, TensorTable } from './weights.ts'

export interface FeedForwardWeights {
  layernormAfter: LayerNormWeights
  intermediateDense: PackedWeight
  outputDense: PackedWeight
}

/** @param block the block's name: `text_model.encoder.layer.0` */
export function feedForwardWeights(tensors: TensorTable, block: string): FeedForwardWeights {
  return {
    layernormAfter: tensors.layerNorm(`${block}.layernorm_after`),
    intermediateDense: tensors.linear(`${block}.intermediate.dense`),
    outputDense: tensors.linear(`${block}.output.dense`),
  }
}

/** Adds the feed-forward output to `activations.hiddenPtr`, f32 [numRows, hiddenSize], in place. */
export function addFeedForward(
  kernels: Kernels,
  weights: FeedForwardWeights,
  { hiddenSize, intermediateSize, layerNormEps }: EncoderConfig,
  { hiddenPtr, numRows }: Activations,
): void {
  const { arena } = kernels
  const { gammaPtr, betaPtr } = weights.layernormAfter
  const mark = arena.mark()
  try {
    const normed = allocQuantizedRows(arena, numRows, hiddenSize)
    const intermediatePtr = arena.alloc(numRows * intermediateSize * BYTES_PER_F32)
    const quantizedIntermediate = allocQuantizedRows(arena, numRows, intermediateSize)

    kernels.layerNormQuantize(hiddenPtr, gammaPtr, betaPtr, numRows, hiddenSize, layerNormEps, normed)
    kernels.gemm(normed, weights.intermediateDense, intermediatePtr, { activation: 'gelu' })
    kernels.quantizeRows(intermediatePtr, numRows, intermediateSize, quantizedIntermediate)
    kernels.gemm(quantizedIntermediate, weights.outputDense, hiddenPtr, { accumulate: true })
  } finally {
    arena.release(mark)
  }
}

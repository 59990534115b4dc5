// Self-attention of one block, pre-LN and with its residual: h += dense(attention(LN(h))).
// Rows of several sequences lie packed; each sequence attends to itself only.
import { allocQuantizedRows } from '../wasm/kernels.ts'
import type { Kernels } from '../wasm/kernels.ts'
import { BYTES_PER_F32 } from './activations.ts'
import type { Activations } from './activations.ts'
import type { EncoderConfig } from './config.ts'
import type { LayerNormWeights, LinearWeights, TensorTable } from './weights.ts'

export interface AttentionWeights {
  layernormBefore: LayerNormWeights
  query: LinearWeights
  key: LinearWeights
  value: LinearWeights
  outputDense: LinearWeights
}

/** @param block the block's name: `text_model.encoder.layer.0` */
export function attentionWeights(tensors: TensorTable, block: string): AttentionWeights {
  return {
    layernormBefore: tensors.layerNorm(`${block}.layernorm_before`),
    query: tensors.linear(`${block}.attention.attention.query`),
    key: tensors.linear(`${block}.attention.attention.key`),
    value: tensors.linear(`${block}.attention.attention.value`),
    outputDense: tensors.linear(`${block}.attention.output.dense`),
  }
}

/** Adds attention to `activations.hiddenPtr`, f32 [numRows, hiddenSize], in place. */
export function addAttention(
  kernels: Kernels,
  weights: AttentionWeights,
  config: EncoderConfig,
  { hiddenPtr, numRows, spans }: Activations,
): void {
  const { hiddenSize, numHeads, headDim, layerNormEps } = config
  const { arena } = kernels
  const { gammaPtr, betaPtr } = weights.layernormBefore
  const rowBytes = hiddenSize * BYTES_PER_F32
  const mark = arena.mark()
  try {
    // The normed rows are dead once quantized, so the attention output reuses their memory.
    const normedPtr = arena.alloc(numRows * rowBytes)
    const contextPtr = normedPtr
    const quantized = allocQuantizedRows(arena, numRows, hiddenSize)
    const queryPtr = arena.alloc(numRows * rowBytes)
    const keyPtr = arena.alloc(numRows * rowBytes)
    const valuePtr = arena.alloc(numRows * rowBytes)

    kernels.layerNormF32(hiddenPtr, normedPtr, gammaPtr, betaPtr, numRows, hiddenSize, layerNormEps)
    kernels.quantizeRows(normedPtr, numRows, hiddenSize, quantized)
    kernels.gemmI8U7(quantized, weights.query, queryPtr)
    kernels.gemmI8U7(quantized, weights.key, keyPtr)
    kernels.gemmI8U7(quantized, weights.value, valuePtr)
    for (const { firstRow, seqLen } of spans) {
      const at = firstRow * rowBytes
      kernels.attentionF32(queryPtr + at, keyPtr + at, valuePtr + at, contextPtr + at, seqLen, numHeads, headDim)
    }
    kernels.quantizeRows(contextPtr, numRows, hiddenSize, quantized)
    kernels.gemmI8U7(quantized, weights.outputDense, hiddenPtr, { accumulate: true })
  } finally {
    arena.release(mark)
  }
}

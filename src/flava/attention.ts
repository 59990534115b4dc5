// Self-attention of one block, pre-LN and with its residual: h += dense(attention(LN(h))).
// Rows of several sequences lie packed; each sequence attends to itself only.
import { allocQuantizedRows } from '../wasm/quantized-rows.ts'
import type { Kernels, PackedWeight } from '../wasm/kernels.ts'
import type { QuantizedRows } from '../wasm/quantized-rows.ts'
import { BYTES_PER_F32, gatherFirstTokens } from './activations.ts'
import type { Activations } from './activations.ts'
import type { EncoderConfig } from './config.ts'
import type { LayerNormWeights, TensorTable } from './weights.ts'

export interface AttentionWeights {
  layernormBefore: LayerNormWeights
  query: PackedWeight
  key: PackedWeight
  value: PackedWeight
  outputDense: PackedWeight
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
  activations: Activations,
): void {
  const { arena } = kernels
  const { hiddenPtr, numRows } = activations
  const mark = arena.mark()
  try {
    const contextPtr = arena.alloc(numRows * config.hiddenSize * BYTES_PER_F32)
    const normed = allocQuantizedRows(arena, numRows, config.hiddenSize)
    normRows(kernels, weights, config, hiddenPtr, normed)
    attend(kernels, weights, config, activations, { normed, queries: normed, contextPtr })
    // The normed rows are dead now, so the context is quantized into their memory.
    addContext(kernels, weights, contextPtr, normed, hiddenPtr)
  } finally {
    arena.release(mark)
  }
}

/**
 * The same for token 0 of each sequence alone, which still attends to all of its sequence. `activations` is unchanged.
 * @returns token 0's states with attention added, for the caller's mark to release
 */
export function addAttentionOfFirstTokens(
  kernels: Kernels,
  weights: AttentionWeights,
  config: EncoderConfig,
  activations: Activations,
): Activations {
  const { arena } = kernels
  const { hiddenSize } = config
  const first = gatherFirstTokens(kernels, activations, hiddenSize)
  const mark = arena.mark()
  try {
    const contextPtr = arena.alloc(first.numRows * hiddenSize * BYTES_PER_F32)
    const normed = allocQuantizedRows(arena, activations.numRows, hiddenSize)
    const queries = allocQuantizedRows(arena, first.numRows, hiddenSize)
    normRows(kernels, weights, config, activations.hiddenPtr, normed)
    normRows(kernels, weights, config, first.hiddenPtr, queries)
    attend(kernels, weights, config, activations, { normed, queries, contextPtr })
    addContext(kernels, weights, contextPtr, queries, first.hiddenPtr)
  } finally {
    arena.release(mark)
  }
  return first
}

interface AttentionRows {
  /** LN(h) of all rows, which keys and values are made of. */
  normed: QuantizedRows
  /** The rows that attend: the same, or token 0 of each sequence. */
  queries: QuantizedRows
  /** f32 [queries.m, hiddenSize], for the result. */
  contextPtr: number
}

function attend(
  kernels: Kernels,
  weights: AttentionWeights,
  { hiddenSize, numHeads, headDim }: EncoderConfig,
  { numRows, spans }: Activations,
  { normed, queries, contextPtr }: AttentionRows,
): void {
  const { arena } = kernels
  const rowBytes = hiddenSize * BYTES_PER_F32
  const mark = arena.mark()
  try {
    const queryPtr = arena.alloc(queries.m * rowBytes)
    const keyPtr = arena.alloc(numRows * rowBytes)
    const valuePtr = arena.alloc(numRows * rowBytes)
    kernels.gemm(queries, weights.query, queryPtr)
    kernels.gemm(normed, weights.key, keyPtr)
    kernels.gemm(normed, weights.value, valuePtr)
    spans.forEach(({ firstRow, seqLen }, index) => {
      const [firstQuery, numQueries] = queries === normed ? [firstRow, seqLen] : [index, 1]
      const queryAt = firstQuery * rowBytes
      const at = firstRow * rowBytes
      const [qPtr, kPtr, vPtr, outPtr] = [queryPtr + queryAt, keyPtr + at, valuePtr + at, contextPtr + queryAt]
      kernels.attention(qPtr, kPtr, vPtr, outPtr, seqLen, numHeads, headDim, numQueries)
    })
  } finally {
    arena.release(mark)
  }
}

function normRows(
  kernels: Kernels,
  { layernormBefore }: AttentionWeights,
  { hiddenSize, layerNormEps }: EncoderConfig,
  srcPtr: number,
  out: QuantizedRows,
): void {
  const { gammaPtr, betaPtr } = layernormBefore
  kernels.layerNormQuantize(srcPtr, gammaPtr, betaPtr, out.m, hiddenSize, layerNormEps, out)
}

/** hidden += dense(context), both f32 of `quantized`'s shape; `quantized` is scratch. */
function addContext(
  kernels: Kernels,
  { outputDense }: AttentionWeights,
  contextPtr: number,
  quantized: QuantizedRows,
  hiddenPtr: number,
): void {
  kernels.quantizeRows(contextPtr, quantized.m, quantized.k, quantized)
  kernels.gemm(quantized, outputDense, hiddenPtr, { accumulate: true })
}

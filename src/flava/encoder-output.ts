// What a caller may take out of an encoder, copied out of linear memory: from the raw states to the projected vector.
import type { Kernels } from '../wasm/kernels.ts'
import { BYTES_PER_F32 } from './activations.ts'
import type { Activations, SequenceSpan } from './activations.ts'
import type { EncoderStack } from './encoder-blocks.ts'
import { projectRows } from './projection.ts'

/**
 * - `projected`: [projectionSize], projection of token 0 after the final LayerNorm; the retrieval embedding before L2
 * - `cls`: [hiddenSize], token 0 after the final LayerNorm; what linear probes take
 * - `hidden`: [seqLen, hiddenSize], all tokens after the final LayerNorm (transformers' last_hidden_state)
 * - `preNorm`: [seqLen, hiddenSize], all tokens before it (hidden_states[-1]); what the multimodal encoder takes
 */
export type EncoderOutput = 'projected' | 'cls' | 'hidden' | 'preNorm'

export interface EncodedItem {
  data: Float32Array
  shape: readonly number[]
}

/** Reads one item per span out of the states after the last block. Allocates scratch the caller's mark releases. */
export function readOutput(
  kernels: Kernels,
  stack: EncoderStack,
  activations: Activations,
  output: EncoderOutput,
): EncodedItem[] {
  const { hiddenPtr, numRows, spans } = activations
  const { hiddenSize } = stack.config
  switch (output) {
    case 'preNorm':
      return copySequences(kernels, hiddenPtr, spans, hiddenSize)
    case 'hidden':
      return copySequences(kernels, layerNormRows(kernels, stack, hiddenPtr, numRows), spans, hiddenSize)
    case 'cls':
      return copyRows(kernels, normedTokenZero(kernels, stack, activations), spans.length, hiddenSize)
    case 'projected': {
      const clsPtr = normedTokenZero(kernels, stack, activations)
      const projectedPtr = kernels.arena.alloc(spans.length * stack.projection.n * BYTES_PER_F32)
      projectRows(kernels, stack.projection, clsPtr, projectedPtr, spans.length)
      return copyRows(kernels, projectedPtr, spans.length, stack.projection.n)
    }
  }
}

/** f32 [batch, hiddenSize]: token 0 of each sequence, gathered and normed. */
function normedTokenZero(kernels: Kernels, stack: EncoderStack, { hiddenPtr, spans }: Activations): number {
  const { hiddenSize } = stack.config
  const rowBytes = hiddenSize * BYTES_PER_F32
  const gatheredPtr = kernels.arena.alloc(spans.length * rowBytes)
  spans.forEach(({ firstRow }, index) => {
    const row = kernels.f32(hiddenPtr + firstRow * rowBytes, hiddenSize)
    kernels.f32(gatheredPtr + index * rowBytes, hiddenSize).set(row)
  })
  return layerNormRows(kernels, stack, gatheredPtr, spans.length)
}

function layerNormRows(kernels: Kernels, { config, layernorm }: EncoderStack, srcPtr: number, count: number): number {
  const { hiddenSize, layerNormEps } = config
  const dstPtr = kernels.arena.alloc(count * hiddenSize * BYTES_PER_F32)
  kernels.layerNormF32(srcPtr, dstPtr, layernorm.gammaPtr, layernorm.betaPtr, count, hiddenSize, layerNormEps)
  return dstPtr
}

function copySequences(
  kernels: Kernels,
  ptr: number,
  spans: readonly SequenceSpan[],
  hiddenSize: number,
): EncodedItem[] {
  return spans.map(({ firstRow, seqLen }) => ({
    data: kernels.f32(ptr + firstRow * hiddenSize * BYTES_PER_F32, seqLen * hiddenSize).slice(),
    shape: [seqLen, hiddenSize],
  }))
}

function copyRows(kernels: Kernels, ptr: number, count: number, size: number): EncodedItem[] {
  return Array.from({ length: count }, (_, row) => ({
    data: kernels.f32(ptr + row * size * BYTES_PER_F32, size).slice(),
    shape: [size],
  }))
}

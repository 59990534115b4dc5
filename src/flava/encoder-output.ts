// What a caller may take out of an encoder, copied out of linear memory: from the raw states to the projected vector.
// What is asked for decides how much of the last block is run.
import type { Kernels } from '../wasm/kernels.ts'
import { BYTES_PER_F32 } from './activations.ts'
import type { Activations, SequenceSpan } from './activations.ts'
import { runBlocks } from './encoder-blocks.ts'
import type { EncoderStack } from './encoder-blocks.ts'
import { projectRows } from './projection.ts'

/**
 * - `projected`: [projectionSize], projection of token 0 after the final LayerNorm; the retrieval embedding before L2
 * - `cls`: [hiddenSize], token 0 after the final LayerNorm; what linear probes take
 * - `hidden`: [seqLen, hiddenSize], all tokens after the final LayerNorm (transformers' last_hidden_state)
 * - `preNorm`: [seqLen, hiddenSize], all tokens before it (hidden_states[-1]); what the multimodal encoder takes
 * - `layers`: [numLayers + 1, hiddenSize], token 0 of all hidden_states, embeddings first; what parity looks at
 */
export type EncoderOutput = 'projected' | 'cls' | 'hidden' | 'preNorm' | 'layers'

export interface EncodedItem {
  data: Float32Array
  shape: readonly number[]
}

/** From embedded inputs to one item per span. Allocates what the caller's mark releases. */
export function runEncoder(
  kernels: Kernels,
  stack: EncoderStack,
  embedded: Activations,
  output: EncoderOutput,
): EncodedItem[] {
  const { hiddenSize } = stack.config
  switch (output) {
    case 'layers':
      return runObserved(kernels, stack, embedded)
    case 'preNorm': {
      const { hiddenPtr, spans } = runBlocks(kernels, stack, embedded, { isFirstTokenEnough: false })
      return copySequences(kernels, hiddenPtr, spans, hiddenSize)
    }
    case 'hidden': {
      const { hiddenPtr, numRows, spans } = runBlocks(kernels, stack, embedded, { isFirstTokenEnough: false })
      return copySequences(kernels, layerNormRows(kernels, stack, hiddenPtr, numRows), spans, hiddenSize)
    }
    case 'cls':
      return copyRows(kernels, normedTokenZero(kernels, stack, embedded), embedded.spans.length, hiddenSize)
    case 'projected': {
      const { projection } = stack
      const clsPtr = normedTokenZero(kernels, stack, embedded)
      const projectedPtr = kernels.arena.alloc(embedded.spans.length * projection.n * BYTES_PER_F32)
      projectRows(kernels, projection, clsPtr, projectedPtr, embedded.spans.length)
      return copyRows(kernels, projectedPtr, embedded.spans.length, projection.n)
    }
  }
}

function runObserved(kernels: Kernels, stack: EncoderStack, embedded: Activations): EncodedItem[] {
  const { hiddenSize } = stack.config
  const numStates = stack.blocks.length + 1
  const items = embedded.spans.map(() => ({
    data: new Float32Array(numStates * hiddenSize),
    shape: [numStates, hiddenSize],
  }))
  let layer = 0
  const observe = ({ hiddenPtr, spans }: Activations): void => {
    spans.forEach(({ firstRow }, index) => {
      const row = kernels.f32(hiddenPtr + firstRow * hiddenSize * BYTES_PER_F32, hiddenSize)
      items[index]?.data.set(row, layer * hiddenSize)
    })
    layer += 1
  }
  runBlocks(kernels, stack, embedded, { isFirstTokenEnough: true, observe })
  return items
}

/** f32 [batch, hiddenSize]: token 0 of each sequence after the last block, normed. */
function normedTokenZero(kernels: Kernels, stack: EncoderStack, embedded: Activations): number {
  const { hiddenPtr, numRows } = runBlocks(kernels, stack, embedded, { isFirstTokenEnough: true })
  return layerNormRows(kernels, stack, hiddenPtr, numRows)
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

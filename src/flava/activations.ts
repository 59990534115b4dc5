// The states that run through an encoder: rows of all inputs of one call, packed one after the other without padding.
// GEMMs and norms run over all rows at once; only embeddings, attention and outputs need the spans.
import type { Kernels } from '../wasm/kernels.ts'

export const BYTES_PER_F32 = 4

/** The rows of one input. */
export interface SequenceSpan {
  firstRow: number
  seqLen: number
}

export interface Activations {
  /** f32 [numRows, hiddenSize] in linear memory. */
  hiddenPtr: number
  numRows: number
  spans: readonly SequenceSpan[]
}

/** Lay sequences of the given lengths end to end. */
export function packSequences(lengths: readonly number[]): { spans: SequenceSpan[]; numRows: number } {
  let numRows = 0
  const spans = lengths.map((seqLen) => {
    const span = { firstRow: numRows, seqLen }
    numRows += seqLen
    return span
  })
  return { spans, numRows }
}

/** Token 0 of each sequence as sequences of one: a copy in memory of its own, which the caller's mark releases. */
export function gatherFirstTokens(kernels: Kernels, activations: Activations, hiddenSize: number): Activations {
  const { hiddenPtr, spans } = activations
  const rowBytes = hiddenSize * BYTES_PER_F32
  const gatheredPtr = kernels.arena.alloc(spans.length * rowBytes)
  spans.forEach(({ firstRow }, index) => {
    const row = kernels.f32(hiddenPtr + firstRow * rowBytes, hiddenSize)
    kernels.f32(gatheredPtr + index * rowBytes, hiddenSize).set(row)
  })
  return { hiddenPtr: gatheredPtr, ...packSequences(spans.map(() => 1)) }
}

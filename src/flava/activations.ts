// The states that run through an encoder: rows of all inputs of one call, packed one after the other without padding.
// GEMMs and norms run over all rows at once; only embeddings, attention and outputs need the spans.

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

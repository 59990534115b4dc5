// Cuts one call's sequences into passes whose activations fit beside the weights in an encoder's linear memory.

// A full-size encoder's weights leave about this much of 96 MiB once the kernels' own scratch is taken off.
const PASS_BYTES = 12 * 1024 * 1024

/**
 * @param lengths tokens of each sequence, in order
 * @returns [first, end) of each pass; every pass holds at least one sequence
 */
export function splitPasses(lengths: readonly number[], bytesPerToken: number): [first: number, end: number][] {
  const maxTokens = Math.floor(PASS_BYTES / bytesPerToken)
  const passes: [number, number][] = []
  let first = 0
  let tokens = 0
  for (const [index, length] of lengths.entries()) {
    if (index > first && tokens + length > maxTokens) {
      passes.push([first, index])
      first = index
      tokens = 0
    }
    tokens += length
  }
  if (lengths.length > first) passes.push([first, lengths.length])
  return passes
}

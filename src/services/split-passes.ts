// Cuts one call's sequences into passes whose activations fit beside the weights in an encoder's linear memory.

/**
 * A pass gains nothing from more rows than one picture of flava-full has, about 200 tokens in this many bytes; what is
 * left of linear memory stays free for JavaScript, which shares the isolate.
 */
const MAX_PASS_BYTES = 4 * 1024 * 1024

/** Linear memory that a pass may take of what is free above the weights. */
export function passBudget(freeBytes: number): number {
  return Math.min(freeBytes, MAX_PASS_BYTES)
}

/**
 * @param lengths tokens of each sequence, in order
 * @param fits whether a pass of so many tokens, the longest sequence having so many, fits; more never fit where fewer
 * do not
 * @returns [first, end) of each pass; every pass holds at least one sequence
 */
export function splitPasses(
  lengths: readonly number[],
  fits: (numTokens: number, longest: number) => boolean,
): [first: number, end: number][] {
  const passes: [number, number][] = []
  let first = 0
  let numTokens = 0
  let longest = 0
  for (const [index, length] of lengths.entries()) {
    if (index > first && !fits(numTokens + length, Math.max(longest, length))) {
      passes.push([first, index])
      first = index
      numTokens = 0
      longest = 0
    }
    numTokens += length
    longest = Math.max(longest, length)
  }
  if (lengths.length > first) passes.push([first, lengths.length])
  return passes
}

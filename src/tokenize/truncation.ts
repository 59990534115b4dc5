// How many tokens of each side of a pair stay under a limit.

/**
 * Lengths kept of two sequences so that together they fit `limit`; pass 0 for an absent second one.
 * The longer side is cut first; when both exceed half, they share, and an odd token goes to the side that was longer (to the second
 * when both were equal). Same result as `longest_first` in `truncate_encodings` of Hugging Face's `tokenizers`.
 */
export function longestFirst(firstLength: number, secondLength: number, limit: number): [number, number] {
  if (firstLength + secondLength <= limit) return [firstLength, secondLength]
  const shorter = Math.min(firstLength, secondLength, Math.floor(limit / 2))
  return firstLength > secondLength ? [limit - shorter, shorter] : [shorter, limit - shorter]
}

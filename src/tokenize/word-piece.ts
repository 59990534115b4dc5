// WordPiece: one word to vocabulary ids, greedily, longest piece first. Knows nothing of where words come from.

export interface WordPieceModel {
  readonly vocabulary: ReadonlyMap<string, number>
  readonly unknownId: number
  readonly continuingPrefix: string
  readonly maxCharactersPerWord: number
  /** Length of the longest vocabulary entry in UTF-16 units; bounds the search in a long word. */
  readonly longestPiece: number
}

/**
 * Appends the ids of one word to `inputIds`; a word that cannot be spelt, or has more than `maxCharactersPerWord` code points,
 * gives the one unknown id. Wu et al. 2016, as in `wordpiece` of Hugging Face's `tokenizers`.
 */
export function pushWordPieces(model: WordPieceModel, word: string, inputIds: number[]): void {
  const firstPiece = inputIds.length
  let start = isTooLong(word, model.maxCharactersPerWord) ? -1 : 0
  while (start >= 0 && start < word.length) {
    start = pushLongestPiece(model, word, start, inputIds)
  }
  if (start < 0) {
    inputIds.length = firstPiece
    inputIds.push(model.unknownId)
  }
}

/** Returns where the piece ends, or -1 when none begins at `start`. Entries are well formed, so no piece ends inside a surrogate pair. */
function pushLongestPiece(model: WordPieceModel, word: string, start: number, inputIds: number[]): number {
  const prefix = start > 0 ? model.continuingPrefix : ''
  for (let end = Math.min(word.length, start + model.longestPiece); end > start; end--) {
    const id = model.vocabulary.get(prefix + word.slice(start, end))
    if (id !== undefined) {
      inputIds.push(id)
      return end
    }
  }
  return -1
}

function isTooLong(word: string, maxCharacters: number): boolean {
  if (word.length <= maxCharacters) return false
  if (word.length > 2 * maxCharacters) return true
  return [...word].length > maxCharacters
}

// Text to inputIds, exactly as Hugging Face's Python `tokenizers` does for BERT. Knows nothing of requests or of the model.
// Our own, because @huggingface/tokenizers 0.2.0 gives other ids than Python: it takes code units for characters (ideographs beyond
// U+FFFF), turns a word-final Σ into ς, reads its engine's newer Unicode tables, and takes an empty second text for none.
// test/tokenize/tokenizer.test.ts keeps that measurement.
import { ModelPackageError, ShapeMismatchError } from '../errors.ts'
import { splitWords } from './normalizer.ts'
import { parseTokenizerJson } from './tokenizer-json.ts'
import { longestFirst } from './truncation.ts'
import { pushWordPieces, type WordPieceModel } from './word-piece.ts'

export interface Tokenizer {
  readonly wordPiece: WordPieceModel
  readonly classId: number
  readonly separatorId: number
  /** Special tokens by their text: written out by a user they become that token, as in Hugging Face's tokenizers. */
  readonly addedTokenIds: ReadonlyMap<string, number>
  readonly addedTokenPattern: RegExp | undefined
}

export interface Tokenized {
  /** `[seqLen]`, from [CLS] to the last [SEP]; seqLen ≤ maxLength. */
  inputIds: number[]
  /** `[seqLen]`, 0 up to the first [SEP], 1 for the second text and its [SEP]. */
  tokenTypeIds: number[]
  /** Tokens before truncation, special tokens included. */
  tokenCount: number
  isTruncated: boolean
}

/**
 * Reads a parsed tokenizer.json.
 * @param vocabSize rows of the embedding table that the ids are for; default: nobody knows yet
 * @throws ModelPackageError for any tokenizer that is not an uncased BERT WordPiece, or gives ids that have no row
 */
export function createTokenizer(tokenizerJson: unknown, vocabSize = Number.POSITIVE_INFINITY): Tokenizer {
  const definition = parseTokenizerJson(tokenizerJson)
  const { vocabulary, addedTokens } = definition
  const addedTokenIds = new Map(addedTokens.map(({ content, id }) => [content, id]))
  for (const ids of [vocabulary, addedTokenIds]) expectRows(ids, vocabSize)
  const idOf = (token: string): number => {
    const id = addedTokenIds.get(token) ?? vocabulary.get(token)
    if (id === undefined) throw new ModelPackageError(`tokenizer.json: the vocabulary has no ${token}`)
    return id
  }
  let longestPiece = 0
  for (const piece of vocabulary.keys()) longestPiece = Math.max(longestPiece, piece.length)
  return {
    wordPiece: {
      vocabulary,
      unknownId: idOf(definition.unknownToken),
      continuingPrefix: definition.continuingPrefix,
      maxCharactersPerWord: definition.maxCharactersPerWord,
      longestPiece,
    },
    classId: idOf(definition.classToken),
    separatorId: idOf(definition.separatorToken),
    addedTokenIds,
    addedTokenPattern: anyOf(addedTokens.map(({ content }) => content)),
  }
}

/**
 * Encodes one text, or a pair when `textPair` is given (an empty string is a pair too), as `[CLS] a [SEP] b [SEP]`, cut longest side
 * first to `maxLength` tokens with the separators kept. Never throws on any string; throws ShapeMismatchError when `maxLength` has no
 * room for the special tokens.
 */
export function encode(tokenizer: Tokenizer, text: string, textPair: string | undefined, maxLength: number): Tokenized {
  const specialCount = textPair === undefined ? 2 : 3
  if (maxLength < specialCount) {
    throw new ShapeMismatchError(`maxLength: expected at least ${specialCount} tokens, got ${maxLength}`)
  }
  const first = encodeText(tokenizer, text)
  const second = textPair === undefined ? [] : encodeText(tokenizer, textPair)
  const tokenCount = first.length + second.length + specialCount
  const [firstLength, secondLength] = longestFirst(first.length, second.length, maxLength - specialCount)
  const { classId, separatorId } = tokenizer
  const inputIds = [classId, ...first.slice(0, firstLength), separatorId]
  const firstSegment = inputIds.length
  if (textPair !== undefined) inputIds.push(...second.slice(0, secondLength), separatorId)
  const tokenTypeIds = inputIds.map((_, index) => (index < firstSegment ? 0 : 1))
  return { inputIds, tokenTypeIds, tokenCount, isTruncated: tokenCount > maxLength }
}

function expectRows(ids: ReadonlyMap<string, number>, vocabSize: number): void {
  for (const [token, id] of ids) {
    if (id < vocabSize) continue
    const name = JSON.stringify(token.slice(0, 40))
    throw new ModelPackageError(`tokenizer.json: ${name}: expected an id below vocab_size (${vocabSize}), got ${id}`)
  }
}

/** Ids of one text without [CLS] and [SEP]. */
function encodeText(tokenizer: Tokenizer, text: string): number[] {
  const inputIds: number[] = []
  const sections = tokenizer.addedTokenPattern === undefined ? [text] : text.split(tokenizer.addedTokenPattern)
  for (const section of sections) {
    const addedTokenId = tokenizer.addedTokenIds.get(section)
    if (addedTokenId === undefined) {
      for (const word of splitWords(section)) pushWordPieces(tokenizer.wordPiece, word, inputIds)
    } else {
      inputIds.push(addedTokenId)
    }
  }
  return inputIds
}

/** One capturing group, so that `split` keeps what it matches; the longest content is tried first. */
function anyOf(contents: readonly string[]): RegExp | undefined {
  if (contents.length === 0) return undefined
  const byLength = contents.toSorted((a, b) => b.length - a.length)
  const escaped = byLength.map((content) => content.replaceAll(/[\\^$.*+?()[\]{}|/]/g, '\\$&'))
  return new RegExp(`(${escaped.join('|')})`, 'u')
}

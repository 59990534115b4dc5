// BertNormalizer and BertPreTokenizer: text to the words that WordPiece cuts. Uncased only: clean, space out ideographs, strip
// accents, lower-case, in that order. Knows nothing of vocabularies or special tokens.
import { DROPPED, IDEOGRAPHS, MARKS, PUNCTUATION, SPACES, UNDECOMPOSED } from './unicode-ranges.ts'

const dropped = new RegExp(`[${characterClass(DROPPED)}]+`, 'gu')
const spaces = new RegExp(`[${characterClass(SPACES)}]`, 'gu')
const ideographs = new RegExp(`[${characterClass(IDEOGRAPHS)}]`, 'gu')
const marks = new RegExp(`[${characterClass(MARKS)}]+`, 'gu')
const decomposable = new RegExp(`[^${characterClass(UNDECOMPOSED)}]+`, 'gu')
const words = new RegExp(`[${characterClass(PUNCTUATION)}]|[^ ${characterClass(PUNCTUATION)}]+`, 'gu')

/**
 * Splits text into normalized words; each punctuation character is a word of its own.
 * An unpaired surrogate counts as U+FFFD, as it would once encoded in UTF-8, and is dropped with it. Never throws.
 * Follows `bert.rs` of Hugging Face's `tokenizers` (normalizers and pre_tokenizers).
 */
export function splitWords(text: string): string[] {
  const cleaned = text.toWellFormed().replace(dropped, '').replace(spaces, ' ').replace(ideographs, ' $& ')
  return toLowerCase(stripAccents(cleaned)).match(words) ?? []
}

function stripAccents(text: string): string {
  return text.replace(decomposable, (part) => part.normalize('NFD')).replace(marks, '')
}

/** Character by character as Rust does; JavaScript alone would turn a word-final capital sigma into ς. */
function toLowerCase(text: string): string {
  return text.replaceAll('Σ', 'σ').toLowerCase()
}

function characterClass(ranges: string): string {
  return ranges
    .trim()
    .replaceAll(/[0-9a-f]+/g, '\\u{$&}')
    .replaceAll(/\s+/g, '')
}

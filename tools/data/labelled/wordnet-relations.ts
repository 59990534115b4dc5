// Which WordNet words are each other's antonyms, and what a word's first meaning is a kind of.

import { ArchiveError } from '../errors.ts'
import { readText, type PackageFiles } from '../package-files.ts'

/** Nouns and verbs only: adjectives and adverbs have no hypernyms. */
export type RelatedPos = 'noun' | 'verb'

export interface Synset {
  /** Blanks instead of underscores, in WordNet's order. */
  words: string[]
  /** Offsets of the synsets that this one is a kind of. */
  hypernyms: string[]
  antonyms: { word: number; offset: string; otherWord: number }[]
}

const POS_LETTER = { noun: 'n', verb: 'v' } as const
const ANTONYM = '!'
const HYPERNYM = '@'

/**
 * Synsets of one WordNet data file by offset, in file order.
 * @throws ArchiveError for a line that is no synset, or a pointer to one that is not there
 * Format: https://wordnet.princeton.edu/documentation/wndb5wn
 */
export function readSynsets(wordnet: PackageFiles, pos: RelatedPos): Map<string, Synset> {
  const path = `dict/data.${pos}`
  const synsets = new Map<string, Synset>()
  for (const line of readText(wordnet, path).split('\n')) {
    // The licence at the top is indented.
    if (line === '' || line.startsWith(' ')) continue
    const [offset, synset] = parseSynset(line, pos) ?? []
    if (offset === undefined || synset === undefined) {
      throw new ArchiveError(`${wordnet.name}: ${path}: expected a synset, got ${JSON.stringify(line.slice(0, 60))}`)
    }
    synsets.set(offset, synset)
  }
  for (const [offset, { hypernyms, antonyms }] of synsets) {
    const missing = [...hypernyms, ...antonyms.map((antonym) => antonym.offset)].find((other) => !synsets.has(other))
    if (missing !== undefined)
      throw new ArchiveError(`${wordnet.name}: ${path}: ${offset} points to no synset ${missing}`)
  }
  return synsets
}

/** "offset lexfile type count(hex) (word id)… count (symbol offset pos source+target(hex))… [frames] | gloss" */
function parseSynset(line: string, pos: RelatedPos): [string, Synset] | undefined {
  const fields = line.slice(0, line.indexOf(' | ')).split(' ')
  const [offset = '', , type, wordCount = ''] = fields
  const words = Number.parseInt(wordCount, 16)
  const pointersAt = 4 + 2 * words
  const pointers = Number(fields[pointersAt])
  if (!/^\d{8}$/.test(offset) || type !== POS_LETTER[pos] || !(words > 0) || !(pointers >= 0)) return undefined
  const synset: Synset = { words: [], hypernyms: [], antonyms: [] }
  for (let word = 0; word < words; word++) synset.words.push((fields[4 + 2 * word] ?? '').replaceAll('_', ' '))
  for (let pointer = 0; pointer < pointers; pointer++) {
    const start = pointersAt + 1 + 4 * pointer
    const [symbol, other, otherPos, sourceTarget] = fields.slice(start, start + 4)
    if (other === undefined || sourceTarget === undefined) return undefined
    if (otherPos !== POS_LETTER[pos]) continue
    if (symbol === HYPERNYM) synset.hypernyms.push(other)
    if (symbol !== ANTONYM) continue
    const [word, otherWord] = [sourceTarget.slice(0, 2), sourceTarget.slice(2)].map(
      (hex) => Number.parseInt(hex, 16) - 1,
    )
    if (word === undefined || otherWord === undefined || word < 0 || otherWord < 0) return undefined
    synset.antonyms.push({ word, offset: other, otherWord })
  }
  return [offset, synset]
}

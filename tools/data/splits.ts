// Which families and styles are held out, and the proof that none of them is in training. The split is a hash of
// the family's name, so that it never depends on order, on a random source or on what else is in the set.

import { createHash } from 'node:crypto'

import { SplitLeakError } from './errors.ts'
import { TRAIN_ONLY_FAMILIES } from './families.ts'

export type ConceptSplit = 'train' | 'dev' | 'test'
export type StyleRole = 'train-style' | 'dev-style' | 'test-style'

const SALT = 'flava-emoji-v1:'
const TEST_PERCENT = 10
const DEV_PERCENT = 5

/** Split of a family: test 10 %, dev 5 %, else train, by SHA-256 of its salted name. */
export function splitOfFamily(family: string): ConceptSplit {
  if (TRAIN_ONLY_FAMILIES.has(family)) return 'train'
  const digest = createHash('sha256')
    .update(SALT + family)
    .digest()
  const percent = digest.readUInt32BE(0) % 100
  if (percent < TEST_PERCENT) return 'test'
  return percent < TEST_PERCENT + DEV_PERCENT ? 'dev' : 'train'
}

/** Role of a drawing style: OpenMoji is for tests only (its licence is share-alike), FxEmojis for tuning only. */
export function roleOfStyle(style: string): StyleRole {
  if (style === 'openmoji') return 'test-style'
  return style === 'fxemoji' ? 'dev-style' : 'train-style'
}

/** What the split rules need to know of a row. */
export interface SplitRow {
  image: string
  style: string
  style_role: StyleRole
  family: string
  concept_split: ConceptSplit | 'flag' | 'extra'
}

/** Whether a row may be trained on: a training style that shows a training concept or a country flag. */
export function isTrainingRow(row: SplitRow): boolean {
  return row.style_role === 'train-style' && (row.concept_split === 'train' || row.concept_split === 'flag')
}

/**
 * Proves that training never sees a held-out family or style, and that each picture occurs once.
 * @throws SplitLeakError naming the first picture that breaks a rule
 */
export function assertNoLeak(rows: readonly SplitRow[]): void {
  const trainFamilies = new Set(rows.filter(isTrainingRow).map((row) => row.family))
  const images = new Set<string>()
  for (const row of rows) {
    if (images.has(row.image)) throw new SplitLeakError(`${row.image}: expected one row per picture, got a second`)
    images.add(row.image)
    const isHeldOut = row.concept_split === 'test' || row.concept_split === 'dev'
    if (isHeldOut && trainFamilies.has(row.family)) {
      throw new SplitLeakError(`${row.image}: ${row.concept_split} family ${row.family} is also in training`)
    }
    if (row.concept_split !== 'extra' && row.style_role !== roleOfStyle(row.style)) {
      throw new SplitLeakError(`${row.image}: style ${row.style} must not be a ${row.style_role}`)
    }
    if (!row.image.startsWith(`${row.style}/`)) {
      throw new SplitLeakError(`${row.image}: expected a picture of style ${row.style}`)
    }
  }
}

// What the labelled sets have in common: the fields of a row, and a split that is a hash of what the row is.

import { createHash } from 'node:crypto'

import { LabelledDataError } from '../errors.ts'
import type { RenderJob } from '../render.ts'

export type LabelledSplit = 'train' | 'valid' | 'test'

/** Fields of every line; snake_case because Python reads it too. Each set adds its own before them. */
export interface LabelledRow {
  id: string
  label: string
  /** What must not be torn apart by the split: copies, forms of one word. */
  group: string
  split: LabelledSplit
}

export interface LabelledSet {
  /** Name of the file, without `.jsonl`. */
  name: string
  rows: LabelledRow[]
  /** Pictures of the rows, where they have any. */
  jobs: RenderJob[]
}

const SALT = 'flava-labelled-v1:'
const TEST_PERCENT = 20
const VALID_PERCENT = 10

/** The common fields of a row in its split. */
export function labelled(id: string, label: string, group: string): LabelledRow {
  return { id, label, group, split: splitOfGroup(group) }
}

/** Split of a group: test 20 %, valid 10 %, else train, by SHA-256 of its salted name. */
export function splitOfGroup(group: string): LabelledSplit {
  const digest = createHash('sha256')
    .update(SALT + group)
    .digest()
  const percent = digest.readUInt32BE(0) % 100
  if (percent < TEST_PERCENT) return 'test'
  return percent < TEST_PERCENT + VALID_PERCENT ? 'valid' : 'train'
}

/** Short name of a group that is a long text or a picture. */
export function groupOfContent(content: string | Uint8Array): string {
  return createHash('sha256').update(content).digest('hex').slice(0, 16)
}

/**
 * @throws LabelledDataError for a set without rows, an id that occurs twice, a row without label, a class with one
 *   row, or a group that is torn apart, naming the set and the row
 */
export function checkSet({ name, rows }: LabelledSet): void {
  if (rows.length === 0) throw new LabelledDataError(`${name}: expected rows, got none`)
  const ids = new Set<string>()
  const splits = new Map<string, LabelledSplit>()
  const labels = new Map<string, number>()
  for (const { id, label, group, split } of rows) {
    if (ids.has(id)) throw new LabelledDataError(`${name}: expected each id once, got ${id} again`)
    ids.add(id)
    if (label === '') throw new LabelledDataError(`${name}: expected a label for ${id}`)
    labels.set(label, (labels.get(label) ?? 0) + 1)
    const known = splits.get(group) ?? split
    if (known !== split) {
      throw new LabelledDataError(
        `${name}: expected group ${group} in one split, ${id} puts it into ${known} and ${split}`,
      )
    }
    splits.set(group, split)
  }
  for (const [label, count] of labels) {
    if (count < 2) throw new LabelledDataError(`${name}: expected two rows or more with label ${label}, got ${count}`)
  }
}

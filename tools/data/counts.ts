// Counts over rows, for the manifest and for the table that a run prints.

import { isTrainingRow } from './splits.ts'
import type { PairRow } from './rows.ts'

/** Pictures by column: `train`, `dev`, `test`, the same with `+skin`, `flag`, `extra`. */
export type StyleCounts = Record<string, number>

export interface Counts {
  rows: number
  /** Pictures of training styles that show a training concept without skin tone. */
  train_base_images: number
  styles: Record<string, StyleCounts>
  /** Concepts without skin tone by split. */
  concepts: Record<string, number>
  families: Record<string, number>
  distinct_train_captions: number
}

const COLUMNS = ['train', 'dev', 'test', 'train+skin', 'dev+skin', 'test+skin', 'flag', 'extra']

export function countRows(rows: readonly PairRow[]): Counts {
  const styles: Record<string, StyleCounts> = {}
  const concepts = new Map<string, string>()
  const families = new Map<string, string>()
  const captions = new Set<string>()
  let trainBaseImages = 0
  for (const row of rows) {
    const column = row.concept_split + (row.skin ? '+skin' : '')
    const style = (styles[row.style] ??= Object.fromEntries(COLUMNS.map((name) => [name, 0])))
    style[column] = (style[column] ?? 0) + 1
    if (row.kind !== 'concept') continue
    families.set(row.family, row.concept_split)
    if (row.skin) continue
    concepts.set(row.key, row.concept_split)
    if (!isTrainingRow(row)) continue
    trainBaseImages++
    for (const caption of row.captions.en) captions.add(caption)
  }
  return {
    rows: rows.length,
    train_base_images: trainBaseImages,
    styles,
    concepts: tally(concepts.values()),
    families: tally(families.values()),
    distinct_train_captions: captions.size,
  }
}

/** The counts of all styles as lines of text. */
export function formatCounts(counts: Counts): string {
  const cell = (text: string | number) => String(text).padStart(11)
  const lines = Object.entries(counts.styles).map(
    ([style, columns]) => style.padEnd(12) + COLUMNS.map((column) => cell(columns[column] ?? 0)).join(''),
  )
  return ['style'.padEnd(12) + COLUMNS.map(cell).join(''), ...lines].join('\n')
}

function tally(values: Iterable<string>): Record<string, number> {
  const counts: Record<string, number> = { train: 0, dev: 0, test: 0 }
  for (const value of values) counts[value] = (counts[value] ?? 0) + 1
  return counts
}

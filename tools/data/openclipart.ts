// The optional training set: Debian's Open Clip Art, public-domain files only, without what names a held-out concept.
// Rows go to openclipart.jsonl in the shape of pairs.jsonl, pictures to images/openclipart/.

import { join } from 'node:path'
import sharp, { type OutputInfo, type Sharp } from 'sharp'

import { clipArtCaptions, parseClipArt, type ClipArt } from './clip-art.ts'
import { drawStampedSheets, planSheet } from './contact-sheet.ts'
import { fetchDebianFiles } from './debian-package.ts'
import { DataSetChangedError } from './errors.ts'
import { heldOutNames, type HeldOutNames } from './held-out-names.ts'
import { hashOfAddition, sha256, toJsonLines, type OpenclipartManifest } from './manifest.ts'
import { readExpectedRows, readOpenclipartPin } from './pins.ts'
import { startProgress } from './progress.ts'
import { fitSquare, IMAGE_SIZE_PX, renderImages, type Outcome, type Recipe, type RenderJob } from './render.ts'
import type { PairRow } from './rows.ts'
import { assertNoLeak } from './splits.ts'
import { writeFileAtomically } from './write-file.ts'

/** Rows that may be used, before any is found to be blank, and how many files were left out and why. */
export interface ClipArtSelection {
  rows: PairRow[]
  leftOut: Record<string, number>
}

const ROOT = './usr/share/openclipart/svg/'
// A script drew these 1,375 stars ("star_43pt09step.svg"); they would be a quarter of the set.
const GENERATED = /^shapes\/stars\/star_\d+pt\d+step$/
// Drawn large, cropped, then scaled down: many drawings are a stamp in the corner of an A4 page.
const CANVAS_PX = 288
const SQUARE = { raw: { width: IMAGE_SIZE_PX, height: IMAGE_SIZE_PX, channels: 3 } } as const
const BLANK_STANDARD_DEVIATION = 2

const CLIP_ART_RECIPE: Recipe = { name: `clip-art-v1 ${IMAGE_SIZE_PX} px`, draw: drawClipArt }

/**
 * Writes openclipart.jsonl and its pictures.
 * @param emojiRows rows of the emoji set: they say which concepts are held out
 * @throws FetchFailedError without apt; DataSetChangedError when the pinned package gives other rows
 */
export async function prepareOpenclipart(
  emojiRows: readonly PairRow[],
  outDir: string,
  cacheDir: string,
): Promise<OpenclipartManifest> {
  const pin = readOpenclipartPin()
  const files = readSvgFiles(await fetchDebianFiles(pin, cacheDir))
  const { rows: candidates, leftOut } = selectClipArt(files, heldOutNames(emojiRows))
  checkFrozen(toJsonLines(candidates))
  const outcomes = await renderClipArt(candidates, files, outDir)
  const images = new Map<string, string>()
  for (const [image, outcome] of outcomes) {
    if ('png' in outcome) images.set(image, outcome.png)
    else leftOut[outcome.skipped] = (leftOut[outcome.skipped] ?? 0) + 1
  }
  const rows = candidates.filter(({ image }) => images.has(image))
  assertNoLeak([...emojiRows, ...rows])
  const lines = toJsonLines(rows)
  await writeFileAtomically(join(outDir, 'openclipart.jsonl'), lines)
  const hash = hashOfAddition(lines, images)
  await drawStampedSheets('openclipart', [planSheet('openclipart', rows)], outDir, hash)
  return { hash, package: pin, rows: rows.length, left_out: leftOut }
}

/** Which files may be trained on, as rows in the order of their paths. */
export function selectClipArt(files: ReadonlyMap<string, string>, heldOut: HeldOutNames): ClipArtSelection {
  const all = Array.from(files, ([path, svg]) => parseClipArt(path, svg))
  const captions = clipArtCaptions(all)
  const leftOut: Record<string, number> = { generated: 0, not_public_domain: 0, no_words: 0, names_held_out: 0 }
  const rows: PairRow[] = []
  for (const art of all) {
    const phrases = captions.get(art.path) ?? []
    const reason = reasonToLeaveOut(art, phrases, heldOut)
    if (reason === undefined) rows.push(clipArtRow(art.path, phrases))
    else leftOut[reason] = (leftOut[reason] ?? 0) + 1
  }
  return { rows, leftOut }
}

function reasonToLeaveOut(art: ClipArt, phrases: readonly string[], heldOut: HeldOutNames): string | undefined {
  if (GENERATED.test(art.path)) return 'generated'
  if (!art.isPublicDomain) return 'not_public_domain'
  if (phrases.length === 0) return 'no_words'
  // The raw words too: cleaning could have removed the one that gives the concept away.
  const texts = [...phrases, art.title, ...art.keywords, art.description, art.path.replace(/\d+/g, ' ')]
  return texts.some((text) => heldOut.find(text) !== undefined) ? 'names_held_out' : undefined
}

function clipArtRow(path: string, phrases: string[]): PairRow {
  const folders = path.split('/').slice(0, -1)
  const key = path.replaceAll('/', '-')
  return {
    image: `openclipart/${key}.png`,
    style: 'openclipart',
    style_role: 'train-style',
    key,
    family: `C${key}`,
    concept_split: 'train',
    name: phrases[0] ?? key,
    group: folders[0] ?? '',
    subgroup: folders.slice(1).join('/'),
    skin: false,
    kind: 'clipart',
    captions: { en: phrases },
  }
}

function readSvgFiles(archive: ReadonlyMap<string, Uint8Array>): Map<string, string> {
  const decoder = new TextDecoder()
  const svgs = Array.from(archive).filter(([path]) => path.startsWith(ROOT) && path.endsWith('.svg'))
  const files = svgs.map(([path, bytes]) => [path.slice(ROOT.length, -'.svg'.length), decoder.decode(bytes)] as const)
  return new Map(files.toSorted(([a], [b]) => (a < b ? -1 : 1)))
}

async function renderClipArt(
  rows: readonly PairRow[],
  files: ReadonlyMap<string, string>,
  outDir: string,
): Promise<Map<string, Outcome>> {
  const sources = new Map(Array.from(files, ([path, svg]) => [clipArtRow(path, []).image, svg]))
  const jobs: RenderJob[] = rows.map(({ image }) => ({ image, source: Buffer.from(sources.get(image) ?? '') }))
  const progress = startProgress('clip art', jobs.length)
  const target = { imagesDir: join(outDir, 'images'), ledgerPath: join(outDir, 'rendered-openclipart.tsv') }
  const outcomes = await renderImages(jobs, CLIP_ART_RECIPE, { ...target, onDone: progress.update })
  progress.stop()
  return outcomes
}

/** The drawing without its empty margins, centred in a transparent square. */
async function drawClipArt(source: Uint8Array): Promise<Uint8Array | 'blank' | 'unreadable'> {
  try {
    const canvas = sharp(source).resize(CANVAS_PX, CANVAS_PX, { fit: 'inside' }).ensureAlpha()
    const page = await canvas.raw().toBuffer({ resolveWithObject: true })
    const cropped = await fromRaw(page).trim().raw().toBuffer({ resolveWithObject: true })
    const png = await fitSquare(fromRaw(cropped))
    const { channels } = await sharp(await sharp(png).flatten({ background: '#fff' }).raw().toBuffer(), SQUARE).stats()
    return channels.some(({ stdev }) => stdev >= BLANK_STANDARD_DEVIATION) ? png : 'blank'
  } catch {
    // About twenty files are not well-formed XML or are larger than libvips' pixel limit; they are counted.
    return 'unreadable'
  }
}

function fromRaw({ data, info: { width, height, channels } }: { data: Buffer; info: OutputInfo }): Sharp {
  return sharp(data, { raw: { width, height, channels } })
}

function checkFrozen(lines: string): void {
  const { openclipartSha256 } = readExpectedRows()
  const actual = sha256(lines)
  if (actual === openclipartSha256) return
  throw new DataSetChangedError(
    `openclipart rows: expected SHA-256 ${openclipartSha256}, got ${actual}; pinned inputs gave other rows. ` +
      'If the change is meant, put the new hash into tools/data/pins/expected-rows.json',
  )
}

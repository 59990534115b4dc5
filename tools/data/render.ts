// Turns picture sources into 72 px PNG files, and remembers what it made in a ledger, so that a run that was
// killed goes on where it stopped and a later one redraws only what is missing, damaged or changed.

import { createHash } from 'node:crypto'
import { appendFileSync, existsSync, readFileSync } from 'node:fs'
import { mkdir, readFile } from 'node:fs/promises'
import { availableParallelism } from 'node:os'
import { dirname, join } from 'node:path'
import sharp, { type Sharp } from 'sharp'

import { RenderError } from './errors.ts'
import { writeFileAtomically } from './write-file.ts'

export const IMAGE_SIZE_PX = 72

/** What draws: named in the manifest, and part of what makes a finished picture out of date. */
export const RENDERER = `sharp ${sharp.versions.sharp ?? '?'}, libvips ${sharp.versions.vips}, librsvg ${sharp.versions.rsvg ?? '?'}`

export interface RenderJob {
  /** Path below the image folder, `noto/1F600.png`. */
  image: string
  /** Bytes of an SVG or WebP file. */
  source: Uint8Array
}

/** A way of drawing. Its name changes whenever its pictures would. */
export interface Recipe {
  name: string
  /** PNG bytes, or why this way of drawing leaves the picture out. */
  draw(source: Uint8Array): Promise<Uint8Array | SkipReason>
}

export type SkipReason = (typeof SKIP_REASONS)[number]

/** What became of a picture: the SHA-256 of its PNG in hex, or why there is none. */
export type Outcome = { png: string } | { skipped: SkipReason }

export interface RenderTarget {
  imagesDir: string
  ledgerPath: string
  /** Called after each picture with how many are done. */
  onDone: (done: number) => void
}

interface LedgerEntry {
  image: string
  source: string
  outcome: Outcome
}

const SKIP_REASONS = ['blank', 'unreadable'] as const

// Twice the browsers' 72 dpi, so that small SVGs are drawn larger than needed and scaled down.
const SVG_DENSITY = 144
const TRANSPARENT = { r: 0, g: 0, b: 0, alpha: 0 }

/** An emoji: the whole view box, centred in a transparent square. */
export const EMOJI_RECIPE: Recipe = {
  name: `emoji-v1 ${IMAGE_SIZE_PX} px`,
  draw: (source) => fitSquare(sharp(source, { density: SVG_DENSITY })),
}

/** PNG, RGBA, `[72, 72, 4]`, of a picture centred in a transparent square. */
export async function fitSquare(picture: Sharp): Promise<Uint8Array> {
  const square = picture.resize(IMAGE_SIZE_PX, IMAGE_SIZE_PX, { fit: 'contain', background: TRANSPARENT })
  return square.ensureAlpha().png({ compressionLevel: 6 }).toBuffer()
}

/**
 * Draws all jobs that are not already on disk.
 * @returns what became of each, by image
 * @throws RenderError naming the picture that could not be drawn
 */
export async function renderImages(
  jobs: readonly RenderJob[],
  recipe: Recipe,
  target: RenderTarget,
): Promise<Map<string, Outcome>> {
  sharp.concurrency(1)
  const ledger = readLedger(target.ledgerPath)
  await mkdir(dirname(target.ledgerPath), { recursive: true })
  const folders = new Set(jobs.map(({ image }) => dirname(join(target.imagesDir, image))))
  for (const folder of folders) await mkdir(folder, { recursive: true })
  const entries = new Array<LedgerEntry>(jobs.length)
  let next = 0
  let done = 0
  const worker = async (): Promise<void> => {
    for (let i = next++; i < jobs.length; i = next++) {
      const job = jobs[i]
      if (job === undefined) return
      entries[i] = await renderOne(job, recipe, target, ledger.get(job.image)).catch((error: unknown) => {
        next = jobs.length // the others stop after their picture
        throw error
      })
      target.onDone(++done)
    }
  }
  // All of them are waited for, so that nothing is still being written once the caller knows of a failure.
  const settled = await Promise.allSettled(Array.from({ length: availableParallelism() }, worker))
  const failed = settled.find((result) => result.status === 'rejected')
  if (failed !== undefined) throw failed.reason
  await writeFileAtomically(target.ledgerPath, entries.map(toLine).join(''))
  return new Map(entries.map(({ image, outcome }) => [image, outcome]))
}

async function renderOne(
  job: RenderJob,
  recipe: Recipe,
  { imagesDir, ledgerPath }: RenderTarget,
  known: LedgerEntry | undefined,
): Promise<LedgerEntry> {
  const file = join(imagesDir, job.image)
  const source = sha256(`${recipe.name}\n${RENDERER}\n`, job.source)
  if (known?.source === source && (await isOnDisk(file, known.outcome))) return known
  const drawn = await recipe.draw(job.source).catch((cause: unknown) => {
    throw new RenderError(`${job.image}: expected a picture that ${RENDERER} can draw`, { cause })
  })
  if (typeof drawn !== 'string') await writeFileAtomically(file, drawn)
  const outcome = typeof drawn === 'string' ? { skipped: drawn } : { png: sha256(drawn) }
  const entry = { image: job.image, source, outcome }
  appendFileSync(ledgerPath, toLine(entry))
  return entry
}

async function isOnDisk(file: string, outcome: Outcome): Promise<boolean> {
  if ('skipped' in outcome) return true
  const bytes = await readFile(file).catch(() => undefined)
  return bytes !== undefined && sha256(bytes) === outcome.png
}

/** The ledger is ours; a line that a killed run left unfinished counts as not there. */
function readLedger(path: string): Map<string, LedgerEntry> {
  const entries = new Map<string, LedgerEntry>()
  if (!existsSync(path)) return entries
  for (const line of readFileSync(path, 'utf8').split('\n')) {
    const [image, source, result] = line.split('\t')
    const skipped = SKIP_REASONS.find((reason) => reason === result)
    if (image === undefined || source?.length !== 64) continue
    if (skipped !== undefined) entries.set(image, { image, source, outcome: { skipped } })
    else if (result?.length === 64) entries.set(image, { image, source, outcome: { png: result } })
  }
  return entries
}

function toLine({ image, source, outcome }: LedgerEntry): string {
  return `${image}\t${source}\t${'png' in outcome ? outcome.png : outcome.skipped}\n`
}

function sha256(...parts: (string | Uint8Array)[]): string {
  const hash = createHash('sha256')
  for (const part of parts) hash.update(part)
  return hash.digest('hex')
}

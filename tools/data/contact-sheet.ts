// One PNG per split that shows every picture in it with its name, so that a person can look at what a model will
// see. Not part of the data set's hash: the labels depend on the machine's fonts.

import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import sharp from 'sharp'

import { startProgress } from './progress.ts'
import type { PairRow } from './rows.ts'
import { writeFileAtomically } from './write-file.ts'

/** What a sheet shows of a row: pictures of one key stand on one line, a column for each style. */
export type SheetCell = Pick<PairRow, 'key' | 'name' | 'style' | 'image'>

/** One line of a sheet: a concept and its pictures, one per style. */
interface Entry {
  label: string
  images: (string | undefined)[]
}

export interface Sheet {
  name: string
  styles: string[]
  entries: Entry[]
}

const THUMBNAIL_PX = 32
const LABEL_PX = 160
const LABEL_CHARACTERS = 22
const TITLE_PX = 24
// Wide enough for a screen, and far below what PNG viewers refuse.
const SHEET_WIDTH_PX = 2600

/** The five sheets: training, dev and test concepts over all styles that may show them, dev and test style. */
export function planSheets(rows: readonly PairRow[]): Sheet[] {
  const base = rows.filter((row) => row.kind === 'concept' && !row.skin)
  const styleOf = (role: PairRow['style_role']) => base.filter((row) => row.style_role === role)
  return [
    planSheet(
      'train',
      base.filter((row) => row.style_role === 'train-style' && row.concept_split === 'train'),
    ),
    planSheet(
      'dev-concepts',
      base.filter((row) => row.concept_split === 'dev'),
    ),
    planSheet(
      'test-concepts',
      base.filter((row) => row.concept_split === 'test'),
    ),
    planSheet('dev-style', styleOf('dev-style')),
    planSheet('test-style', styleOf('test-style')),
  ]
}

/** One sheet of a part of the data set. */
export function planSheet(name: string, rows: readonly SheetCell[]): Sheet {
  const styles = [...new Set(rows.map((row) => row.style))]
  const columnOf = new Map(styles.map((style, column) => [style, column]))
  const entries = new Map<string, Entry>()
  for (const { key, name: label, style, image } of rows) {
    const entry = entries.get(key) ?? { label, images: styles.map(() => undefined) }
    entry.images[columnOf.get(style) ?? 0] = image
    entries.set(key, entry)
  }
  return { name, styles, entries: [...entries.values()] }
}

/**
 * Draws sheets into contact/, only when the part they show is another one than at the last time.
 * @param part names the stamp that remembers `hash`
 */
export async function drawStampedSheets(
  part: string,
  sheets: readonly Sheet[],
  outDir: string,
  hash: string,
): Promise<void> {
  const stampPath = join(outDir, `contact/${part}.hash`)
  if ((await readFile(stampPath, 'utf8').catch(() => '')).trim() === hash) return
  const progress = startProgress(`contact sheets of ${part}`, sheets.length)
  for (const [i, sheet] of sheets.entries()) {
    const png = await drawSheet(sheet, join(outDir, 'images'))
    await writeFileAtomically(join(outDir, 'contact', `${sheet.name}.png`), png)
    progress.update(i + 1)
  }
  progress.stop()
  await writeFileAtomically(stampPath, `${hash}\n`)
}

/** PNG of a sheet: blocks of thumbnails and label in columns, under a line that names sheet and styles. */
async function drawSheet(sheet: Sheet, imagesDir: string): Promise<Uint8Array> {
  const blockWidth = sheet.styles.length * THUMBNAIL_PX + LABEL_PX
  const columns = Math.max(1, Math.floor(SHEET_WIDTH_PX / blockWidth))
  const lines = Math.ceil(sheet.entries.length / columns)
  const width = columns * blockWidth
  const height = TITLE_PX + lines * THUMBNAIL_PX
  const pixels = Buffer.alloc(width * height * 3, 255)
  const labels: string[] = [textAt(4, 17, `${sheet.name}: ${sheet.entries.length} × ${sheet.styles.join(', ')}`)]
  for (const [i, { label, images }] of sheet.entries.entries()) {
    const left = Math.floor(i / lines) * blockWidth
    const top = TITLE_PX + (i % lines) * THUMBNAIL_PX
    labels.push(textAt(left + sheet.styles.length * THUMBNAIL_PX + 4, top + 20, label))
    for (const [column, image] of images.entries()) {
      if (image === undefined) continue
      const thumbnail = await readThumbnail(join(imagesDir, image))
      copyThumbnail(thumbnail, pixels, width, left + column * THUMBNAIL_PX, top)
    }
  }
  const overlay = `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}">${labels.join('')}</svg>`
  const raw = { width, height, channels: 3 } as const
  return sharp(pixels, { raw, limitInputPixels: false })
    .composite([{ input: Buffer.from(overlay) }])
    .png()
    .toBuffer()
}

/** RGB on white, `[32, 32, 3]`. */
async function readThumbnail(path: string): Promise<Uint8Array> {
  return sharp(path).resize(THUMBNAIL_PX, THUMBNAIL_PX).flatten({ background: '#fff' }).removeAlpha().raw().toBuffer()
}

// Thousands of inputs to one composite call would be a chain of as many images in libvips; copying rows is linear.
function copyThumbnail(thumbnail: Uint8Array, pixels: Uint8Array, width: number, left: number, top: number): void {
  for (let y = 0; y < THUMBNAIL_PX; y++) {
    const row = thumbnail.subarray(y * THUMBNAIL_PX * 3, (y + 1) * THUMBNAIL_PX * 3)
    pixels.set(row, ((top + y) * width + left) * 3)
  }
}

function textAt(x: number, y: number, text: string): string {
  const clipped = x > 4 && text.length > LABEL_CHARACTERS ? `${text.slice(0, LABEL_CHARACTERS - 1)}…` : text
  const escaped = clipped.replace(/[&<>]/g, (character) => `&#${character.codePointAt(0) ?? 0};`)
  return `<text x="${x}" y="${y}" font-family="sans-serif" font-size="11" fill="#333">${escaped}</text>`
}

// Outlined versions of the training styles' pictures: an unseen drawing style may well be drawn with outlines, and no
// training style is. Made from the SVGs by a style sheet; the held-out styles' pictures are not looked at.

import { join } from 'node:path'

import { drawStampedSheets, planSheet } from './contact-sheet.ts'
import { ArchiveError, RenderError } from './errors.ts'
import { hashOfAddition, toJsonLines, type OutlinesManifest } from './manifest.ts'
import { startProgress } from './progress.ts'
import { EMOJI_RECIPE, renderImages, type RenderJob } from './render.ts'
import type { PairRow } from './rows.ts'
import { assertNoLeak, isTrainingRow } from './splits.ts'
import { writeFileAtomically } from './write-file.ts'

export type OutlineVariant = (typeof VARIANTS)[number]

/** One line of outlines.jsonl. Captions are those of `key` in pairs.jsonl. */
export interface OutlineRow {
  /** Path of the PNG below images/. */
  image: string
  /** The style whose picture it is made of. */
  style: string
  variant: OutlineVariant
  key: string
}

/** `outlined`: the fills are kept, every shape gets a dark stroke. `line`: the shapes are white besides. */
const VARIANTS = ['outlined', 'line'] as const
/** The training styles that are drawn as SVG; Fluent 3D is pixels. */
const OUTLINED_STYLES: ReadonlySet<string> = new Set(['noto', 'twemoji', 'fluent-flat', 'noto-v1', 'emojitwo'])

// Two units of a grid of 72 is what line icons are commonly drawn with.
const STROKE_SHARE_OF_WIDTH = 0.028
const STROKE_COLOR = '#222'
const SHAPES = ['path', 'circle', 'ellipse', 'rect', 'line', 'polyline', 'polygon']
const VIEW_BOX = /viewBox="(-?[\d.]+) (-?[\d.]+) ([\d.]+) ([\d.]+)"/

/** Writes outlines.jsonl and its pictures; `jobs` holds the source of each row's picture. */
export async function prepareOutlines(
  rows: readonly PairRow[],
  jobs: readonly RenderJob[],
  outDir: string,
): Promise<OutlinesManifest> {
  const outlines = buildOutlines(rows)
  const sources = new Map(jobs.map(({ image, source }) => [image, source]))
  const outlineJobs = outlines.map((row) => outlineJob(row, sources))
  const progress = startProgress('outlined pictures', outlineJobs.length)
  const target = { imagesDir: join(outDir, 'images'), ledgerPath: join(outDir, 'rendered-outlines.tsv') }
  const outcomes = await renderImages(outlineJobs, EMOJI_RECIPE, { ...target, onDone: progress.update })
  progress.stop()
  const images = new Map<string, string>()
  for (const [image, outcome] of outcomes) {
    if ('skipped' in outcome) throw new RenderError(`${image}: expected a picture, it is ${outcome.skipped}`)
    images.set(image, outcome.png)
  }
  const lines = toJsonLines(outlines)
  await writeFileAtomically(join(outDir, 'outlines.jsonl'), lines)
  const hash = hashOfAddition(lines, images)
  await writeSheet(outlines, rows, outDir, hash)
  return { hash, rows: outlines.length, variants: [...VARIANTS], styles: [...OUTLINED_STYLES] }
}

/** Two rows for each base picture of an SVG training style in the training split, in the order of `rows`. */
export function buildOutlines(rows: readonly PairRow[]): OutlineRow[] {
  assertNoLeak(rows)
  const base = rows.filter(
    (row) => isTrainingRow(row) && row.kind === 'concept' && !row.skin && OUTLINED_STYLES.has(row.style),
  )
  return base.flatMap(({ style, key }) =>
    VARIANTS.map((variant) => ({ image: `${style}-${variant}/${key}.png`, style, variant, key })),
  )
}

/**
 * The same drawing with dark strokes, its view box grown by half a stroke on each side so that none is cut.
 * @throws ArchiveError for a source without the view box that our readers write
 */
export function outlineSvg(svg: string, variant: OutlineVariant): string {
  const found = VIEW_BOX.exec(svg)
  if (found === null) throw new ArchiveError('expected an SVG with a viewBox of four numbers')
  const [x = 0, y = 0, width = 0, height = 0] = found.slice(1).map(Number)
  const strokeWidth = round(width * STROKE_SHARE_OF_WIDTH)
  const margin = strokeWidth / 2
  const box = [x - margin, y - margin, width + strokeWidth, height + strokeWidth].map(round).join(' ')
  const style = `<style>${styleSheet(variant, strokeWidth)}</style>`
  return svg.replace(found[0], `viewBox="${box}"`).replace(/(<svg\b[^>]*>)/, `$1${style}`)
}

/** `!important` wins over presentation attributes and over inline styles. */
function styleSheet(variant: OutlineVariant, strokeWidth: number): string {
  const stroke =
    `stroke:${STROKE_COLOR}!important;stroke-width:${strokeWidth}px!important;` +
    'stroke-linejoin:round!important;stroke-linecap:round!important'
  // A shape that is itself a stroke (an arm as one fat line) keeps its colour, or a thin line would be left of it.
  if (variant === 'outlined') return `${SHAPES.map((shape) => `${shape}:not([stroke])`).join()}{${stroke}}`
  // `none` stays: it is inherited from groups, and filling an open stroke would paint an area that is not there.
  const filled = '[fill]:not([fill="none"]),[style*="fill:"]:not([style*="fill:none"])'
  return `${SHAPES.join()}{${stroke}}svg{fill:#fff}${filled}{fill:#fff!important}`
}

function outlineJob({ image, style, variant, key }: OutlineRow, sources: ReadonlyMap<string, Uint8Array>): RenderJob {
  const source = sources.get(`${style}/${key}.png`)
  if (source === undefined) throw new ArchiveError(`${image}: expected the source of ${style}/${key}.png`)
  try {
    return { image, source: new TextEncoder().encode(outlineSvg(new TextDecoder().decode(source), variant)) }
  } catch (cause) {
    throw new ArchiveError(`${image}: its source cannot be outlined`, { cause })
  }
}

async function writeSheet(
  outlines: OutlineRow[],
  rows: readonly PairRow[],
  outDir: string,
  hash: string,
): Promise<void> {
  const names = new Map(rows.map(({ key, name }) => [key, name]))
  const cells = outlines.map(({ image, style, variant, key }) => ({
    image,
    style: `${style} ${variant}`,
    key,
    name: names.get(key) ?? key,
  }))
  await drawStampedSheets('outlines', [planSheet('outlines', cells)], outDir, hash)
}

function round(value: number): number {
  return Math.round(value * 1e4) / 1e4
}

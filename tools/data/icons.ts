// Icon sets as further training pairs: line drawings and silhouettes of many things, without brands and without what
// names a held-out concept. Rows go to icons.jsonl, pictures to images/<set>/.

import { join } from 'node:path'
import sharp from 'sharp'

import { drawStampedSheets, planSheet, type SheetCell } from './contact-sheet.ts'
import { ArchiveError } from './errors.ts'
import { heldOutNames, heldOutSynonyms, type HeldOutNames } from './held-out-names.ts'
import { ICON_SETS, type Icon, type IconSetName } from './icon-sets.ts'
import { hashOfAddition, toJsonLines, type IconsManifest } from './manifest.ts'
import type { PackageFiles } from './package-files.ts'
import type { PinnedPackage } from './pins.ts'
import { startProgress } from './progress.ts'
import { fitSquare, IMAGE_SIZE_PX, renderImages, type Outcome, type Recipe } from './render.ts'
import type { PairRow } from './rows.ts'
import { writeFileAtomically } from './write-file.ts'

/** One line of icons.jsonl. */
export interface IconRow {
  /** Path of the PNG below images/. */
  image: string
  set: IconSetName
  name: string
  /** The name, then other names and search words. */
  captions: string[]
  /** SPDX name. */
  license: string
}

/** Icons that may be trained on, before any is found to be blank, and how many of each set were left out and why. */
export interface IconSelection {
  icons: Icon[]
  leftOut: Map<IconSetName, Record<string, number>>
}

const ICON_RECIPE: Recipe = { name: `icon-v1 ${IMAGE_SIZE_PX} px`, draw: drawIcon }
// Drawn larger than needed: the icons say they are 24 px wide.
const SVG_DENSITY = 432

/**
 * Writes icons.jsonl and its pictures.
 * @param emojiRows rows of the emoji set: they say which concepts are held out
 * @throws ArchiveError naming the package and the file that is not as expected
 */
export async function prepareIcons(
  packages: ReadonlyMap<string, PackageFiles>,
  pins: readonly PinnedPackage[],
  emojiRows: readonly PairRow[],
  outDir: string,
): Promise<IconsManifest> {
  const all: Icon[] = []
  const licenses = new Map<string, string>()
  for (const set of ICON_SETS) {
    const from = packages.get(set.package)
    const pin = pins.find(({ name }) => name === set.package)
    if (from === undefined || pin === undefined) throw new ArchiveError(`expected package ${set.package} to be pinned`)
    for (const icon of set.read(from)) {
      all.push(icon)
      licenses.set(icon.set, pin.license)
    }
  }
  const { icons, leftOut } = selectIcons(all, heldOutNames(emojiRows), heldOutSynonyms(emojiRows))
  const outcomes = await renderIcons(icons, outDir)
  const images = new Map<string, string>()
  const rows: IconRow[] = []
  for (const icon of icons) {
    const row = iconRow(icon, licenses.get(icon.set) ?? '')
    const outcome = outcomes.get(row.image)
    if (outcome === undefined || 'skipped' in outcome) {
      addTo(leftOut, icon.set, outcome?.skipped ?? 'blank')
      continue
    }
    images.set(row.image, outcome.png)
    rows.push(row)
  }
  const lines = toJsonLines(rows)
  await writeFileAtomically(join(outDir, 'icons.jsonl'), lines)
  const hash = hashOfAddition(lines, images)
  await writeSheets(rows, outDir, hash)
  const sets = Array.from(leftOut, ([set, counts]) => {
    return [set, { rows: rows.filter((row) => row.set === set).length, left_out: counts }] as const
  })
  return { hash, packages: [...pins], rows: rows.length, sets: Object.fromEntries(sets) }
}

/** Which icons may be trained on. */
export function selectIcons(all: readonly Icon[], heldOut: HeldOutNames, synonyms: ReadonlySet<string>): IconSelection {
  const leftOut = new Map<IconSetName, Record<string, number>>()
  const icons: Icon[] = []
  for (const icon of all) {
    if (!leftOut.has(icon.set)) leftOut.set(icon.set, { brand: 0, names_held_out: 0, synonym_of_held_out: 0, blank: 0 })
    const reason = reasonToLeaveOut(icon, heldOut, synonyms)
    if (reason === undefined) icons.push(icon)
    else addTo(leftOut, icon.set, reason)
  }
  return { icons, leftOut }
}

function reasonToLeaveOut(icon: Icon, heldOut: HeldOutNames, synonyms: ReadonlySet<string>): string | undefined {
  if (icon.isBrand) return 'brand'
  if ([icon.id, icon.name, ...icon.tags].some((text) => heldOut.find(text) !== undefined)) return 'names_held_out'
  return synonyms.has(icon.name) ? 'synonym_of_held_out' : undefined
}

function iconRow({ set, id, name, tags }: Icon, license: string): IconRow {
  return { image: `${set}/${id}.png`, set, name, captions: [name, ...tags], license }
}

async function renderIcons(icons: readonly Icon[], outDir: string): Promise<Map<string, Outcome>> {
  const jobs = icons.map((icon) => ({ image: iconRow(icon, '').image, source: icon.svg }))
  const progress = startProgress('icons', jobs.length)
  const target = { imagesDir: join(outDir, 'images'), ledgerPath: join(outDir, 'rendered-icons.tsv') }
  const outcomes = await renderImages(jobs, ICON_RECIPE, { ...target, onDone: progress.update })
  progress.stop()
  return outcomes
}

/** As an emoji is drawn; an icon of nothing ("blank", "border none") is left out. */
async function drawIcon(source: Uint8Array): Promise<Uint8Array | 'blank'> {
  const png = await fitSquare(sharp(source, { density: SVG_DENSITY }))
  const alpha = await sharp(png).extractChannel('alpha').raw().toBuffer()
  return alpha.some((value) => value > 0) ? png : 'blank'
}

/** A sheet for each package: weights of one set stand side by side. */
async function writeSheets(rows: readonly IconRow[], outDir: string, hash: string): Promise<void> {
  const cells = new Map<string, SheetCell[]>()
  for (const { image, set, name } of rows) {
    const family = set.split('-')[0] ?? set
    const key = image.slice(set.length + 1)
    const ofFamily = cells.get(family) ?? []
    ofFamily.push({ image, style: set, key, name })
    cells.set(family, ofFamily)
  }
  const sheets = Array.from(cells, ([family, ofFamily]) => planSheet(`icons-${family}`, ofFamily))
  await drawStampedSheets('icons', sheets, outDir, hash)
}

function addTo(leftOut: Map<IconSetName, Record<string, number>>, set: IconSetName, reason: string): void {
  const counts = leftOut.get(set) ?? {}
  counts[reason] = (counts[reason] ?? 0) + 1
  leftOut.set(set, counts)
}

// A checkpoint becomes a model package: quantized, measured against fp32 PyTorch, described, and put in place when it is
// good enough. Python quantizes and makes the reference vectors; the WASM engine is run here, in Node.
// `npm run export` and `npm run import` are this with different flags.
import { existsSync } from 'node:fs'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { basename, join, resolve } from 'node:path'
import { readSavedScores } from '../eval/scores-file.ts'
import type { SavedScores } from '../eval/scores-file.ts'
import { readManifest } from '../model/load-model.ts'
import { measureEdgeFit } from './edge-fit.ts'
import { readExportReport } from './export-report.ts'
import { installPackage } from './install-package.ts'
import { measureImage, measureText } from './measure-encoders.ts'
import { CARD_FILE, CONFUSIONS_FILE, renderModelCard } from './model-card.ts'
import { PARITY_FILE, parityReport } from './parity-report.ts'
import type { ParityReport } from './parity-report.ts'
import { readOrigin } from './provenance.ts'
import { runPython } from './python-step.ts'
import { referenceVectors } from './reference-vectors.ts'
import { measureDevRetrieval } from './retrieval-parity.ts'
import type { Variant } from './variants.ts'

const WORK_DIR = resolve('build/export')

export interface PackageOrder {
  /** Folder of a Hugging Face checkpoint with its tokenizer. */
  checkpoint: string
  variant: Variant
  /** Package folder to write. */
  out: string
  license: string
  rounding: 'compensated' | 'nearest'
  /** `text=64,image=60`: MiB of the tensor files, instead of the variant's. */
  budgetMib: string | null
  /** Data set whose dev split joins the parity inputs and is searched; null for a model it means nothing to. */
  data: string | null
  provenanceFile: string | null
  isBelowGateAllowed: boolean
  isUnfitAllowed: boolean
}

export interface PackageResult {
  out: string
  parity: ParityReport
  /** False when a gate refused it: `out` is unchanged then. */
  isWritten: boolean
}

/** @throws PythonStepError, ProvenanceError and what reading a package throws; `out` is unchanged then */
export async function makePackage(order: PackageOrder): Promise<PackageResult> {
  await mkdir(WORK_DIR, { recursive: true })
  const work = await mkdtemp(join(WORK_DIR, `${order.variant}-`))
  try {
    const staged = join(work, 'package')
    const parity = await quantizeAndMeasure(order, staged, join(work, 'report.json'))
    await writeFile(join(staged, PARITY_FILE), `${JSON.stringify(parity, null, 2)}\n`)
    await writeFile(join(staged, CARD_FILE), await cardOf(order, staged, parity))
    const isWritten = (parity.isPassed || order.isBelowGateAllowed) && (parity.edge.isFitting || order.isUnfitAllowed)
    if (isWritten) await installPackage(staged, order.out)
    return { out: order.out, parity, isWritten }
  } finally {
    await rm(work, { recursive: true, force: true })
  }
}

async function quantizeAndMeasure(order: PackageOrder, staged: string, reportPath: string): Promise<ParityReport> {
  const { checkpoint, data } = order
  await runPython('flava_gpu.export', exportArgs(order, staged, reportPath))
  const exported = await readExportReport(reportPath)
  const set = await referenceVectors({ checkpoint, checkpointSha256: exported.checkpoint, data })
  const text = await measureText(staged, set)
  const image = await measureImage(staged, set)
  const manifest = await readManifest(staged)
  const dev = data === null ? null : await measureDevRetrieval({ packageDir: staged, checkpoint, data })
  const saved = [...((await scoresFor(order.out, manifest.weights))?.rows ?? [])]
  return parityReport({
    manifest,
    exported,
    inputs: set.inputs,
    text,
    image,
    edge: await measureEdgeFit(staged),
    retrieval: dev === null && saved.length === 0 ? null : { dev, saved },
  })
}

function exportArgs(order: PackageOrder, staged: string, reportPath: string): string[] {
  const flags = {
    '--checkpoint': order.checkpoint,
    '--out': staged,
    '--variant': order.variant,
    '--license': order.license,
    '--rounding': order.rounding,
    '--report': reportPath,
    ...(order.budgetMib === null ? {} : { '--budget-mib': order.budgetMib }),
  }
  return [...Object.entries(flags).flat(), ...(order.isUnfitAllowed ? ['--allow-unfit'] : [])]
}

async function cardOf(order: PackageOrder, staged: string, parity: ParityReport): Promise<string> {
  const { checkpoint, provenanceFile } = order
  return renderModelCard({
    name: basename(resolve(order.out)),
    manifest: await readManifest(staged),
    parity,
    origin: await readOrigin({ checkpoint, checkpointSha256: parity.checkpoint, provenanceFile }),
    scores: parity.retrieval?.saved ?? [],
    targets: (await scoresFor(order.out, parity.weights))?.targets ?? null,
    hasConfusions: existsSync(join(order.out, CONFUSIONS_FILE)),
  })
}

/** Those beside the package to be replaced. Scores of other weights stay out: they would pass for this package's. */
async function scoresFor(out: string, weights: string): Promise<SavedScores | null> {
  const saved = await readSavedScores(out)
  if (saved === null || saved.weights === weights) return saved
  console.error(`${out}: its scores are of other weights and left out; npm run eval -- retrieval --save makes new ones`)
  return null
}

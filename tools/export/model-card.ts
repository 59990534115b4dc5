// Fills the model card's template from what is measured and recorded: manifest, parity, training record and scores.
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { z } from 'zod'
import type { ModelManifest } from '../../src/flava/manifest.ts'
import type { ParityReport } from './parity-report.ts'
import type { CosineSummary } from './similarity.ts'

const TEMPLATE = join(import.meta.dirname, 'model-card.template.md')
const MIB = 1024 * 1024
const NO_SCORES = 'No scores are recorded for this package yet: `npm run eval -- retrieval --json` makes them.'

/** checkpoint/training.json, as far as the card tells it; a checkpoint from elsewhere has none. */
export const trainingSchema = z.object({
  config: z.looseObject({
    optimization: z.looseObject({ updates: z.number(), batch_size: z.number(), learning_rate: z.number() }),
    fusion: z.looseObject({ updates: z.number(), batch_size: z.number() }),
  }),
  data_manifest: z.string(),
  seconds: z.number(),
  images_per_second: z.number(),
})

/** One line of `npm run eval -- retrieval --json`; recalls in percent. */
export const scoreSchema = z.object({
  suite: z.literal('retrieval'),
  split: z.string(),
  engine: z.string(),
  direction: z.enum(['i2t', 't2i']),
  r1: z.number(),
  r5: z.number(),
  r10: z.number(),
  n: z.number(),
})

export type TrainingRecord = z.infer<typeof trainingSchema>
export type Score = z.infer<typeof scoreSchema>

export interface CardFacts {
  name: string
  manifest: ModelManifest
  parity: ParityReport
  training: TrainingRecord | null
  scores: readonly Score[]
  fileBytes: number
}

/** The card as Markdown. @throws when the template asks for something that nobody filled in */
export async function renderModelCard(facts: CardFacts): Promise<string> {
  const { manifest, parity } = facts
  const values: Record<string, string> = {
    name: facts.name,
    license: manifest.license,
    identity: identityRows(facts),
    training: trainingText(facts.training),
    maxTextLength: String(manifest.maxTextLength),
    imageSize: String(manifest.image.imageSize),
    scheme: manifest.scheme,
    rounding: parity.rounding,
    reference: parity.reference,
    minCosine: String(parity.gate.minCosine),
    parity: parityTable(parity),
    buildEquality: parity.areBuildsBitEqual ? 'the same bits for every input' : 'DIFFERENT bits',
    scores: scoreTable(facts.scores),
  }
  const template = await readFile(TEMPLATE, 'utf8')
  return template.replaceAll(/\{\{([a-zA-Z]+)\}\}/g, (placeholder, key: string) => {
    const value = values[key]
    if (value === undefined) throw new Error(`model card: nothing fills ${placeholder}`)
    return value
  })
}

function identityRows({ manifest, fileBytes }: CardFacts): string {
  const { text, image } = manifest
  const geometry = `hidden ${text.hiddenSize}, ${text.numLayers} text and ${image.numLayers} image layers`
  const rows: [string, string][] = [
    ['Geometry', `${geometry}, ${text.numHeads} heads, projection to ${manifest.projectionSize}`],
    ['Text', `WordPiece, ${text.vocabSize} pieces, at most ${manifest.maxTextLength} tokens`],
    ['Image', `${image.imageSize} px, patches of ${image.patchSize} px, ${image.numPatches + 1} tokens`],
    ['Weights', `\`${manifest.scheme}\`, ${(fileBytes / MIB).toFixed(1)} MiB, sha256 \`${manifest.weights}\``],
    ['Space', `\`${manifest.space}\`: vectors of packages with another space cannot be compared with these`],
    ['Checkpoint', `sha256 \`${manifest.checkpoint}\``],
  ]
  return rows.map(([key, value]) => `| ${key} | ${value} |`).join('\n')
}

function trainingText(training: TrainingRecord | null): string {
  if (!training) return 'The checkpoint came without a training record.'
  const { optimization, fusion } = training.config
  const { updates, batch_size: batch, learning_rate: rate } = optimization
  const minutes = Math.round(training.seconds / 60)
  return [
    'Stages: one run with the contrastive, image-text-matching (ITM), masked-language (MLM) and multimodal',
    `masked-text (MMM) losses; ${updates} updates of ${batch} pairs, peak learning rate ${rate}, then ${fusion.updates} of`,
    `${fusion.batch_size} for the multimodal encoder alone (ITM, MMM); ${minutes} minutes in all at`,
    `${training.images_per_second} pictures a second on CPU. Data manifest \`${training.data_manifest}\`.`,
    'Configuration, versions and curves lie beside the checkpoint.',
  ].join('\n')
}

function parityTable({ text, image, devImage, gate }: ParityReport): string {
  const row = (name: string, { count, mean, p1, min }: CosineSummary) =>
    `| ${name} | ${count} | ${[mean, p1, min].map((value) => value.toFixed(6)).join(' | ')} |`
  const lines = [
    '| inputs | n | mean | 1st percentile | min |',
    '|---|---|---|---|---|',
    row('texts', text),
    row('pictures', image),
    ...(devImage ? [row('of these from the dev split', devImage)] : []),
  ]
  if (!gate.isPassed) lines.push('', '**This package does not pass the gate and was written with --allow-below-gate.**')
  return lines.join('\n')
}

function scoreTable(scores: readonly Score[]): string {
  if (scores.length === 0) return NO_SCORES
  return [
    'Recall in percent; `edge` is this package in the WASM engine, `torch` the fp32 checkpoint.',
    '',
    '| split | engine | direction | n | R@1 | R@5 | R@10 |',
    '|---|---|---|---|---|---|---|',
    ...scores.map(
      ({ split, engine, direction, n, r1, r5, r10 }) =>
        `| ${split} | ${engine} | ${direction} | ${n} | ${[r1, r5, r10].map((value) => value.toFixed(1)).join(' | ')} |`,
    ),
  ].join('\n')
}

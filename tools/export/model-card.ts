// Fills the model card's template from what is measured and recorded: manifest, parity, origin and scores.
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { ModelManifest } from '../../src/flava/manifest.ts'
import type { Score, TargetLine, Targets } from '../eval/scores-file.ts'
import { describeGate } from './gates.ts'
import { PARTS } from './package-parts.ts'
import type { ParityReport } from './parity-report.ts'
import type { Origin, Provenance, TrainingRecord } from './provenance.ts'
import type { CosineSummary } from './similarity.ts'

export const CARD_FILE = 'README.md'
/** A picture beside the card, made by `npm run eval -- confusions`. */
export const CONFUSIONS_FILE = 'confusions.png'
const TEMPLATE = join(import.meta.dirname, 'model-card.template.md')
const MIB = 1024 * 1024
const NO_SCORES = 'No scores are recorded for this package.'
/** What scoreTable writes: one line, or an introduction and a table. */
const SCORES_SECTION = /(?<=\n## Scores\n\n)(?:No scores are recorded.*|Recall in percent.*\n\n\|.*(?:\n\|.*)*)/

/** From its heading to the next one. */
const TARGETS_SECTION = /\n## Targets\n\n[\s\S]*?(?=\n## )/

export interface CardFacts {
  name: string
  manifest: ModelManifest
  parity: ParityReport
  origin: Origin
  scores: readonly Score[]
  targets: Targets | null
  hasConfusions: boolean
}

/** The card as Markdown. @throws when the template asks for something that nobody filled in */
export async function renderModelCard(facts: CardFacts): Promise<string> {
  const { manifest, parity, origin } = facts
  const { provenance } = origin
  const values: Record<string, string> = {
    name: facts.name,
    license: manifest.license,
    frontMatter: frontMatter(provenance),
    summary: told(provenance?.summary, 'What it was trained on, and for what, is not recorded in this package.'),
    identity: identityRows(facts),
    training: trainingText(origin),
    data: told(provenance?.data, 'Not recorded.'),
    intendedUse: told(provenance?.intendedUse, 'That of the checkpoint, which this package does not know.'),
    limits: told(provenance?.limits, '- Those of the checkpoint, which this package does not know.'),
    maxTextLength: String(manifest.maxTextLength),
    imageSize: String(manifest.image.imageSize),
    rounding: parity.rounding,
    reference: parity.reference,
    schemes: schemeTable(parity),
    parity: parityTable(parity),
    gates: gateText(parity),
    buildEquality: buildEquality(parity),
    targets: targetsText(facts.targets, facts.hasConfusions),
    scores: scoreTable(facts.scores),
    scoresNote: provenance?.scores?.join('\n') ?? '',
    attributions: told(provenance?.attributions, 'What they were learned from is not recorded in this package.'),
  }
  const template = await readFile(TEMPLATE, 'utf8')
  const filled = template.replaceAll(/\{\{([a-zA-Z]+)\}\}/g, (placeholder, key: string) => {
    const value = values[key]
    if (value === undefined) throw new Error(`model card: nothing fills ${placeholder}`)
    return value
  })
  return filled.replaceAll(/\n{3,}/g, '\n\n')
}

/** A card with other scores in it and nothing else changed. @throws for a card that this file did not make */
export function withScores(card: string, scores: readonly Score[]): string {
  if (!SCORES_SECTION.test(card)) throw new Error('model card: found no section of scores to replace')
  return card.replace(SCORES_SECTION, () => scoreTable(scores))
}

/** A card with other targets in it; one that was made before cards had them gets the section. */
export function withTargets(card: string, targets: Targets, hasConfusions: boolean): string {
  const section = `\n## Targets\n\n${targetsText(targets, hasConfusions)}\n`
  if (TARGETS_SECTION.test(card)) return card.replace(TARGETS_SECTION, () => section)
  return card.replace('\n## Scores\n', (heading) => `${section}${heading}`)
}

function told(lines: readonly string[] | undefined, otherwise: string): string {
  return lines?.join('\n') ?? otherwise
}

function frontMatter(provenance: Provenance | null): string {
  const list = (key: string, items: readonly string[]) =>
    items.length === 0 ? [] : [`${key}:`, ...items.map((item) => `  - ${item}`)]
  return [
    ...(provenance?.language === undefined ? [] : [`language: ${provenance.language}`]),
    'pipeline_tag: feature-extraction',
    ...list('tags', ['flava', 'multimodal', 'quantized', 'webassembly', ...(provenance?.tags ?? [])]),
    ...list('datasets', provenance?.datasets ?? []),
  ].join('\n')
}

function identityRows({ manifest, parity }: CardFacts): string {
  const { text, image } = manifest
  const layers = `${text.numLayers} text and ${image.numLayers} image layers, ${text.numHeads} heads`
  const mebibytes = [parity.text, parity.image].map(({ totalBytes }) => (totalBytes / MIB).toFixed(1))
  const rows: [string, string][] = [
    ['Variant', `\`${manifest.variant}\``],
    ['Geometry', `hidden ${text.hiddenSize}, ${layers}, projection to ${manifest.projectionSize}`],
    ['Text', `WordPiece, ${text.vocabSize} pieces, at most ${manifest.maxTextLength} tokens`],
    ['Image', `${image.imageSize} px, patches of ${image.patchSize} px, ${image.numPatches + 1} tokens`],
    ['Weights', `text ${mebibytes[0]} MiB, image ${mebibytes[1]} MiB; identity \`${manifest.weights}\``],
    ['Space', `\`${manifest.space}\`: vectors of packages with another space cannot be compared with these`],
    ['Checkpoint', `sha256 \`${manifest.checkpoint}\``],
  ]
  return rows.map(([key, value]) => `| ${key} | ${value} |`).join('\n')
}

function trainingText({ training, provenance }: Origin): string {
  const record = training === null ? [] : recordLines(training)
  const text = [...record, ...(provenance?.training ?? [])]
  return text.length > 0 ? text.join('\n') : 'The checkpoint came without a training record.'
}

function recordLines({ stages, heads, data_manifest: data }: TrainingRecord): string[] {
  const minutes = (seconds: number) => Math.round(seconds / 60)
  const total = stages.reduce((sum, { seconds }) => sum + seconds, 0)
  const rows = stages.map(
    ({ name, stage, updates, batch_size: batch, learning_rate: rate, seconds }) =>
      `| ${name} | ${stage} | ${updates} | ${batch} | ${rate} | ${minutes(seconds)} |`,
  )
  return [
    '| run | stage | updates | batch | peak learning rate | minutes |',
    '|---|---|---|---|---|---|',
    ...rows,
    '',
    `${minutes(total)} minutes in all. Heads that were trained: ${heads.join(', ')}. Data manifest \`${data}\`.`,
    'Configuration and versions lie beside the checkpoint, in training.json.',
  ]
}

function schemeTable({ text, image }: ParityReport): string {
  const rows = PARTS.flatMap((part) => {
    const cells = [text, image].map(({ schemes }) =>
      Object.entries(schemes[part] ?? {})
        .map(([scheme, count]) => `${scheme}${count > 1 ? ` × ${count}` : ''}`)
        .join(', '),
    )
    return cells.some((cell) => cell !== '') ? [`| ${inWords(part)} | ${cells.join(' | ')} |`] : []
  })
  const bits = [text, image].map(({ bitsPerWeight }) => bitsPerWeight.toFixed(2))
  return ['| part | text | image |', '|---|---|---|', ...rows, `| bits per Linear weight | ${bits.join(' | ')} |`].join(
    '\n',
  )
}

/** `wordEmbeddings` as `word embeddings`. */
export function inWords(part: string): string {
  return part.replaceAll(/[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`)
}

function parityTable({ text, image }: ParityReport): string {
  const row = (name: string, { count, mean, p1, min }: CosineSummary) =>
    `| ${name} | ${count} | ${[mean, p1, min].map((value) => value.toFixed(6)).join(' | ')} |`
  return [
    '| inputs | n | mean | 1st percentile | min |',
    '|---|---|---|---|---|',
    row('texts', text.cosine),
    ...(text.devCosine ? [row('of these from the dev split', text.devCosine)] : []),
    row('pictures', image.cosine),
    ...(image.devCosine ? [row('of these from the dev split', image.devCosine)] : []),
  ].join('\n')
}

function gateText({ gates, isPassed, edge }: ParityReport): string {
  const unfit = edge.isFitting ? [] : ['**This package does not fit a Worker and was written with --allow-unfit.**']
  if (isPassed) return [...unfit, 'It passes every gate of its variant; they are in `parity.json`.'].join('\n')
  const failed = gates.filter((gate) => !gate.isPassed).map((gate) => `- ${describeGate(gate)}`)
  return [...unfit, '**This package is below its gate and was written with --allow-below-gate:**', '', ...failed].join(
    '\n',
  )
}

function buildEquality({ builds }: ParityReport): string {
  const inputs = `${builds.texts} texts and ${builds.pictures} pictures`
  return builds.areEqual ? `the same bits for ${inputs}` : `DIFFERENT bits for some of ${inputs}`
}

function targetsText(targets: Targets | null, hasConfusions: boolean): string {
  if (targets === null) return 'What it was to reach was not measured on this package.'
  const { command, date, cpu, lines } = targets
  return [
    'Held-out style and held-out concepts, through this package in the WASM engine; for matching (ITM) its encoders with the',
    "checkpoint's multimodal encoder. 95 % intervals in brackets; floors are reached without the model.",
    '',
    '| | must | aim | got | n | floors | |',
    '|---|---|---|---|---|---|---|',
    ...lines.map(targetRow),
    '',
    `\`${command}\`, ${date.slice(0, 10)}, ${cpu}.`,
    ...(hasConfusions
      ? ['', `![Drawings that it is most wrong about, beside what it takes them for](${CONFUSIONS_FILE})`]
      : []),
  ].join('\n')
}

function targetRow({ title, unit, must, aim, got, low, high, n, floors, verdict }: TargetLine): string {
  const bound = (value: number | null): string =>
    value === null ? '' : `${unit === 'MiB' ? '≤ ' : ''}${value} ${unit}`
  const interval = low === null || high === null ? '' : ` (${low.toFixed(1)} to ${high.toFixed(1)})`
  const without = Object.entries(floors).map(([name, value]) => `${name} ${value.toFixed(1)}`)
  const cells = [title, bound(must), bound(aim), `${got.toFixed(1)}${interval}`, n ?? '', without.join(', '), verdict]
  return `| ${cells.join(' | ')} |`
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

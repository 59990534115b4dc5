// An inspected package as the tables that `npm run inspect` prints, and as the object that --json gives.
import { MAX_MEMORY_BYTES } from '../../src/workers/encoder-memory.ts'
import { inWords } from '../export/model-card.ts'
import { PARTS } from '../export/package-parts.ts'
import type { EncoderMakeup, Part } from '../export/package-parts.ts'
import type { ParityReport } from '../export/parity-report.ts'
import type { CosineSummary } from '../export/similarity.ts'
import type { InspectedPackage } from './read-package.ts'
import { textTable } from './text-table.ts'

const MIB = 1024 * 1024
const WORST_COUNT = 10

export function formatPackage(inspected: InspectedPackage): string {
  const { parity } = inspected
  const sections = [
    identityTable(inspected),
    filesTable(inspected),
    makeupTable(inspected),
    ...(parity === null ? ['parity: no parity.json in this package'] : paritySections(parity)),
  ]
  return sections.join('\n\n')
}

export function packageAsJson({ manifest, text, image, parity }: InspectedPackage) {
  const { variant, space, weights, checkpoint, license, maxTextLength, projectionSize, preprocessing, files } = manifest
  const geometry = { text: manifest.text, image: manifest.image, maxTextLength, projectionSize, preprocessing }
  return { variant, space, weights, checkpoint, license, geometry, files, text, image, parity }
}

function identityTable({ directory, manifest }: InspectedPackage): string {
  const { text, image } = manifest
  const layers = `${text.numLayers} text and ${image.numLayers} image layers, ${text.numHeads} heads`
  const tokens = `${manifest.maxTextLength} text tokens, ${image.numPatches + 1} image tokens`
  const rows = [
    ['package', directory],
    ['variant', manifest.variant],
    ['space', manifest.space],
    ['weights', manifest.weights],
    ['checkpoint', manifest.checkpoint],
    ['licence', manifest.license],
    ['geometry', `hidden ${text.hiddenSize}, ${layers}, projection to ${manifest.projectionSize}`],
    ['inputs', `${tokens} (${image.imageSize} px, patches of ${image.patchSize})`],
  ]
  return rows.map(([key = '', value = '']) => `${key.padEnd(12)}${value}`).join('\n')
}

function filesTable({ manifest }: InspectedPackage): string {
  const rows = Object.values(manifest.files).map(({ name, sizeBytes, sha256 }) => [name, mib(sizeBytes), sha256, 'ok'])
  return textTable([['file', 'MiB', 'sha256', 'verified'], ...rows])
}

/** Schemes and bytes by part, against what one encoder's Worker has. */
function makeupTable({ manifest, text, image, parity }: InspectedPackage): string {
  const rows = PARTS.map((part) => [
    inWords(part),
    ...[text, image].flatMap((encoder) => [schemesOf(encoder, part), mib(encoder.bytes[part])]),
  ])
  const bits = [text, image].flatMap(({ bitsPerWeight }) => [bitsPerWeight.toFixed(2), ''])
  const files = [manifest.files.text, manifest.files.image].flatMap(({ sizeBytes }) => ['', mib(sizeBytes)])
  const memory = [parity?.edge.text, parity?.edge.image].flatMap((fit) => [
    '',
    fit === undefined ? '' : fit.memoryBytes === null ? 'no fit' : mib(fit.memoryBytes),
  ])
  return textTable([
    ['part', 'text', 'MiB', 'image', 'MiB'],
    ...rows,
    ['bits per Linear weight', ...bits],
    ['file', ...files],
    [`memory in use, of ${mib(MAX_MEMORY_BYTES)}`, ...memory],
  ])
}

function paritySections(parity: ParityReport): string[] {
  return [cosineTable(parity), gateTable(parity), ...retrievalTable(parity), ...layerTable(parity), worstTable(parity)]
}

function cosineTable({ text, image, reference, rounding, builds }: ParityReport): string {
  const row = (name: string, { count, mean, p1, min }: CosineSummary) => [
    name,
    String(count),
    ...[mean, p1, min].map(sixDigits),
  ]
  const table = textTable([
    ['parity, cosine', 'n', 'mean', 'p1', 'min'],
    row('texts', text.cosine),
    ...(text.devCosine ? [row('  dev split', text.devCosine)] : []),
    row('pictures', image.cosine),
    ...(image.devCosine ? [row('  dev split', image.devCosine)] : []),
  ])
  const equality = builds.areEqual ? 'equal bits' : 'DIFFERENT BITS'
  const inputs = `${builds.texts} texts and ${builds.pictures} pictures`
  return `${table}\nagainst ${reference}; ${rounding} rounding; both kernel builds: ${equality} on ${inputs}`
}

function gateTable({ gates }: ParityReport): string {
  const rows = gates.map(({ name, rule, limit, measured, isPassed }) => [
    name,
    rule,
    String(limit),
    String(measured),
    isPassed ? 'passed' : 'FAILED',
  ])
  return textTable([['gate', '', 'limit', 'measured', ''], ...rows])
}

function retrievalTable({ retrieval }: ParityReport): string[] {
  const scores = [...(retrieval?.dev?.rows ?? []), ...(retrieval?.saved ?? [])]
  if (scores.length === 0) return []
  const rows = scores.map(({ split, engine, direction, n, r1, r5, r10 }) => [
    `${split} ${direction}`,
    engine,
    String(n),
    ...[r1, r5, r10].map((value) => value.toFixed(2)),
  ])
  return [textTable([['retrieval', 'engine', 'n', 'R@1', 'R@5', 'R@10'], ...rows])]
}

function layerTable({ text, image }: ParityReport): string[] {
  const count = Math.max(text.layerCosines.length, image.layerCosines.length)
  if (count === 0) return []
  const rows = Array.from({ length: count }, (_, layer) => [
    layer === 0 ? 'embeddings' : `block ${layer}`,
    ...[text, image].flatMap(({ layerCosines }) => {
      const cosine = layerCosines[layer]
      return cosine === undefined ? ['', ''] : [sixDigits(cosine.mean), sixDigits(cosine.min)]
    }),
  ])
  const header = [`token 0 after (n ${text.layerInputs}, ${image.layerInputs})`]
  return [textTable([[...header, 'text mean', 'min', 'image mean', 'min'], ...rows])]
}

/** By the error of their outputs where it was measured, since that is what the next layer sees. */
function worstTable({ tensors }: ParityReport): string {
  const errorOf = (tensor: ParityReport['tensors'][string]) => tensor.outputError ?? tensor.relativeError
  const rows = Object.entries(tensors)
    .toSorted(([, a], [, b]) => errorOf(b) - errorOf(a))
    .slice(0, WORST_COUNT)
    .map(([name, { scheme, relativeError, outputError }]) => [
      name,
      scheme,
      relativeError.toFixed(6),
      outputError?.toFixed(6) ?? '-',
    ])
  return textTable([
    [`worst ${rows.length} of ${Object.keys(tensors).length} tensors`, 'scheme', 'weight error', 'output error'],
    ...rows,
  ])
}

function schemesOf({ schemes }: EncoderMakeup, part: Part): string {
  return Object.entries(schemes[part] ?? {})
    .map(([scheme, count]) => (count > 1 ? `${scheme} x ${count}` : scheme))
    .join(', ')
}

function sixDigits(value: number): string {
  return value.toFixed(6)
}

function mib(bytes: number): string {
  return (bytes / MIB).toFixed(2)
}

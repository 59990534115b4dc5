// Tables of the benches beside the comparison: stages, cost by tokens, batches, cold start, the embedded model.
import { linesOf } from './lines.ts'
import type { BenchLine, LineOf } from './lines.ts'
import { markdownTable, section } from './report-tables.ts'
import { fitLine } from './statistics.ts'
import type { LinearFit } from './statistics.ts'

/** What the issue wants of the embedded model, warm, in workerd. */
const EMBEDDED_MUST_MS: Readonly<Record<string, number>> = { text: 2, image: 10 }

/** One table a package: stages by shape, in milliseconds and as shares. */
export function stageTables(lines: readonly BenchLine[]): string {
  const stages = linesOf(lines, 'stages')
  const tables = [...new Set(stages.map(profileName))].map((name) => {
    const rows = stages.filter((line) => profileName(line) === name)
    const shapes = [...new Set(rows.map(({ shape }) => shape))]
    const total = (shape: string) => sum(rows.filter((row) => row.shape === shape).map(({ medianMs }) => medianMs))
    const cell = (stage: string, shape: string) => {
      const ms = rows.find((row) => row.stage === stage && row.shape === shape)?.medianMs ?? 0
      return `${ms.toFixed(2)} (${((100 * ms) / total(shape)).toFixed(0)} %)`
    }
    const body = [...new Set(rows.map(({ stage }) => stage))].map((stage) => [
      stage,
      ...shapes.map((shape) => cell(stage, shape)),
    ])
    const totals = ['all kernels', ...shapes.map((shape) => total(shape).toFixed(2))]
    return section(`Stages, ${name} (ms, share)`, markdownTable(['stage', ...shapes], [...body, totals]))
  })
  return tables.join('\n\n')
}

export function profileName({ variant, condition }: LineOf<'stages'>): string {
  return `${variant} package, ${condition}`
}

/** The line through cost by tokens, by package. */
export function tokenFits(lines: readonly BenchLine[]): Map<string, LinearFit> {
  const points = linesOf(lines, 'tokens')
  const variants = [...new Set(points.map(({ variant }) => variant))]
  return new Map(
    variants.map((variant) => {
      const own = points.filter((line) => line.variant === variant)
      return [variant, fitLine(own.map(({ tokens, medianMs }) => [tokens, medianMs] as const))]
    }),
  )
}

export function profileReport(lines: readonly BenchLine[]): string {
  return [stageTables(lines), tokenTable(lines), batchTable(lines), coldTable(lines), embeddedTable(lines)]
    .filter((text) => text !== '')
    .join('\n\n')
}

function tokenTable(lines: readonly BenchLine[]): string {
  const rows = [...tokenFits(lines)].map(([variant, { slope, intercept, r2 }]) => [
    variant,
    slope.toFixed(3),
    intercept.toFixed(2),
    r2.toFixed(4),
  ])
  return section('Cost by tokens', markdownTable(['package', 'ms a token', 'ms at none', 'R²'], rows))
}

function batchTable(lines: readonly BenchLine[]): string {
  const batches = linesOf(lines, 'batches')
  const alone = (variant: string) =>
    batches.find((line) => line.variant === variant && line.batch === 1)?.textsPerSecond
  const rows = batches.map(({ variant, batch, tokens, medianMs, textsPerSecond }) => [
    variant,
    `${batch} × ${tokens} tokens`,
    medianMs.toFixed(1),
    textsPerSecond.toFixed(1),
    `${(textsPerSecond / (alone(variant) ?? Number.NaN)).toFixed(2)}×`,
  ])
  return section(
    'Texts packed into one call',
    markdownTable(['package', 'texts', 'ms a call', 'texts a second', 'of one by one'], rows),
  )
}

export function coldTable(lines: readonly BenchLine[]): string {
  const rows = linesOf(lines, 'cold').map(({ variant, input, source, firstAnswerMs, loadMs, warmUpMs, warmMs }) => [
    variant,
    input,
    source,
    firstAnswerMs.toFixed(0),
    loadMs?.toFixed(0) ?? '',
    warmUpMs?.toFixed(0) ?? '',
    warmMs.toFixed(1),
  ])
  const header = [
    'package',
    'input',
    'package out of',
    'cold isolate to first answer, ms',
    'of it load',
    'of it warm-up',
    'warm answer, ms',
  ]
  return section('Cold start in workerd, weights on the local disk', markdownTable(header, rows))
}

export function embeddedTable(lines: readonly BenchLine[]): string {
  const rows = linesOf(lines, 'embedded').map(({ item, shape, medianMs, p10Ms, p90Ms, aboveGatewayMs }) => {
    const must = EMBEDDED_MUST_MS[item]
    const verdict = must === undefined ? '' : medianMs <= must ? `≤ ${must} ms met` : `≤ ${must} ms **missed**`
    return [item, shape, medianMs.toFixed(2), p10Ms.toFixed(2), p90Ms.toFixed(2), aboveGatewayMs.toFixed(2), verdict]
  })
  const header = ['', 'shape', 'median ms', 'p10', 'p90', 'above the gateway', '']
  return section('The embedded model through the gateway in workerd, warm', markdownTable(header, rows))
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0)
}

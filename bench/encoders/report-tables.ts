// The benches' lines as Markdown tables: for the terminal and for docs/performance.md.
import { CONDITIONS } from './conditions.ts'
import { linesOf } from './lines.ts'
import type { BenchLine, LineOf } from './lines.ts'
import { targetRows } from './targets.ts'

type TimingLine = LineOf<'encoders'> | LineOf<'encoders-no-vnni'> | LineOf<'encoder-service'>

/** Dollars for a million CPU milliseconds on Workers Paid, beyond what the plan includes (read 2026-08). */
const DOLLARS_PER_MILLION_CPU_MS = 0.02

/** The tables of `npm run bench -- encoders`. */
export function encoderReport(lines: readonly BenchLine[]): string {
  return [
    machineText(lines),
    checkText(lines),
    section('Targets', targetTable(lines, '')),
    section(
      'Targets with AVX-VNNI off (an older CPU)',
      linesOf(lines, 'encoders-no-vnni').length > 0 ? targetTable(lines, '-no-vnni') : '',
    ),
    ...CONDITIONS.map(({ name, title, guard, isVnniAllowed }) => {
      const rows = isVnniAllowed ? linesOf(lines, 'encoders') : linesOf(lines, 'encoders-no-vnni')
      return section(
        `${title}, all tokens (ms, median / min)`,
        timingTable(
          rows.filter((row) => row.condition === guard),
          lines,
          name,
        ),
      )
    }),
    section('What the service computes: the retrieval vector (ms, median / min)', serviceTable(lines)),
    section('Ours in workerd by ours in Node with bounds checks, same work', workerdTable(lines)),
    section('CPU cost of a million inputs on Workers', costTable(lines)),
  ]
    .filter((text) => text !== '')
    .join('\n\n')
}

export function machineText(lines: readonly BenchLine[]): string {
  const [machine] = linesOf(lines, 'machine')
  if (!machine) return ''
  const versions = Object.entries(machine.versions).map(([name, version]) => `${name} ${version}`)
  const dots = linesOf(lines, 'dot-kind').map(({ condition, dotKind }) => `${condition}: ${dotKind}`)
  const peaks = linesOf(lines, 'instruction-peak').map(
    ({ condition, idiom, gmacs, bestGmacs }) =>
      `| ${condition} | \`${idiom}\` | ${gmacs.toFixed(1)} / ${bestGmacs.toFixed(1)} |`,
  )
  return [
    `${machine.cpu}, one core (${machine.core}), ${machine.date}, commit ${machine.commit}`,
    `Node ${machine.node} (V8 ${machine.v8}), ${versions.join(', ')}; model ${machine.geometry}`,
    ...(dots.length === 0 ? [] : [`integer dot product: ${[...new Set(dots)].join(', ')}`]),
    ...(peaks.length === 0
      ? []
      : ['', '| condition | instruction idiom | GMAC/s, median / best |', '|---|---|---|', ...peaks]),
  ].join('\n')
}

export function markdownTable(header: readonly string[], rows: readonly (readonly string[])[]): string {
  if (rows.length === 0) return ''
  return [header, header.map(() => '---'), ...rows].map((cells) => `| ${cells.join(' | ')} |`).join('\n')
}

export function section(title: string, body: string): string {
  return body === '' ? '' : `### ${title}\n\n${body}`
}

function checkText(lines: readonly BenchLine[]): string {
  const checks = linesOf(lines, 'encoder-checks')
  if (checks.length === 0) return ''
  const worst = checks.toSorted((a, b) => a.cosine - b.cosine)[0]
  return `Outputs checked before timing: ${checks.length}, worst cosine to fp32 ${worst?.cosine} (${worst?.contestant}, ${worst?.shape})`
}

function targetTable(lines: readonly BenchLine[], suffix: '' | '-no-vnni'): string {
  const rows = targetRows(lines, suffix)
  if (rows.every(({ verdict }) => verdict === 'not measured')) return ''
  const cells = rows.map(({ title, must, aim, got, verdict }) => [
    title,
    must,
    aim,
    got,
    verdict === 'missed' ? '**missed**' : verdict,
  ])
  return markdownTable(['ours against…', 'must', 'aim', 'got (worst first)', 'verdict'], cells)
}

function timingTable(rows: readonly TimingLine[], lines: readonly BenchLine[], condition: string): string {
  const shapes = [...new Set(rows.map(({ shape }) => shape))]
  const names = [...new Set(rows.map(nameOf))]
  const ratios = linesOf(lines, 'encoder-ratios').filter(
    (line) => line.condition === condition && line.work === 'hidden',
  )
  const speedup = (row: TimingLine) => {
    const found = ratios.find((line) => {
      const isOurs = row.engine === 'flava-edge' && row.runtime === 'node' && line.variant === row.variant
      return isOurs && line.shape === row.shape && line.against === 'onnxruntime-web int8'
    })
    return found ? ` (${found.ratio.toFixed(2)}×)` : ''
  }
  const cells = names.map((name) => [
    name,
    ...shapes.map((shape) => {
      const row = rows.find((candidate) => candidate.shape === shape && nameOf(candidate) === name)
      return row ? `${[row.medianMs, row.minMs].flatMap(tenths).join(' / ')}${speedup(row)}` : ''
    }),
  ])
  return markdownTable(['(×: onnxruntime-web int8 by ours, median of ratios)', ...shapes], cells)
}

function tenths(value: number | undefined): string[] {
  return value === undefined ? [] : [value.toFixed(1)]
}

function nameOf({ engine, variant, runtime }: TimingLine): string {
  return `${engine} ${variant}${runtime === 'workerd' ? ' in workerd' : ''}`
}

function serviceTable(lines: readonly BenchLine[]): string {
  return markdownTable(
    ['', 'condition', 'shape', 'median', 'min'],
    linesOf(lines, 'encoder-service').map((row) => [
      nameOf(row),
      row.condition,
      row.shape,
      row.medianMs.toFixed(2),
      row.minMs?.toFixed(2) ?? '',
    ]),
  )
}

function workerdTable(lines: readonly BenchLine[]): string {
  return markdownTable(
    ['package', 'shape', 'work', 'ratio'],
    linesOf(lines, 'workerd-ratios').map(({ variant, shape, work, ratio }) => [variant, shape, work, times(ratio)]),
  )
}

/** By the time of the retrieval vector in workerd; what the gateway and the pixels Worker spend is not in it. */
function costTable(lines: readonly BenchLine[]): string {
  return markdownTable(
    ['package', 'shape', 'CPU ms each', 'dollars a million'],
    linesOf(lines, 'encoder-service')
      .filter(({ runtime }) => runtime === 'workerd')
      .map(({ variant, shape, medianMs }) => {
        return [variant, shape, medianMs.toFixed(1), (medianMs * DOLLARS_PER_MILLION_CPU_MS).toFixed(2)]
      }),
  )
}

function times(value: number): string {
  return `${value.toFixed(2)}×`
}

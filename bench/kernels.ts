// `npm run bench -- kernels [--json]`: each kernel alone, on every dot product of this CPU, at the sizes of the embedded
// model and of flava-full, beside the peak of its instruction idiom measured in the same run on the same core.
// Every result is checked against the scalar reference before anything is timed.
import { cpus } from 'node:os'
import { parseArgs } from 'node:util'
import { createKernels } from '../src/wasm/kernels.ts'
import type { DotKind, KernelModules } from '../src/wasm/kernels.ts'
import { compileKernels } from '../tools/model/compile-kernels.ts'
import { runOnOneCore } from './encoders/one-core.ts'
import { kernelCases } from './kernels/cases.ts'
import type { KernelCase, PreparedRun } from './kernels/cases.ts'
import { measurePeaks } from './kernels/peaks.ts'
import type { Peak } from './kernels/peaks.ts'

/** Timed rounds per case; the cases of one shape take turns, so that a disturbance of the machine hits all of them. */
const ROUNDS = 15

/** One round repeats the kernel for at least this long: performance.now() is good to about 0.01 ms. */
const ROUND_MS = 20

/** Rounds before the timed ones: V8 compiles hot code a second time. */
const WARM_UP_ROUNDS = 3

const { values: flags } = parseArgs({ options: { json: { type: 'boolean', default: false } } })

if (!(await runOnOneCore())) {
  const modules = await compileKernels()
  const { dotKind } = createKernels(modules, { maxBytes: 65536 })
  const peaks = await measurePeaks()
  if (flags.json) for (const peak of peaks) console.log(JSON.stringify({ bench: 'peaks', ...peak }))
  else printHeader(dotKind, peaks)
  const cases = kernelCases(usefulDotKinds(dotKind))
  for (const shape of new Set(cases.map(groupName))) {
    const group = cases.filter((candidate) => groupName(candidate) === shape)
    timeGroup(group, modules).forEach((timesMs, index) => {
      const kernelCase = group[index]
      if (kernelCase) report(kernelCase, timesMs, peaks)
    })
  }
}

function groupName({ kernel, shape }: KernelCase): string {
  return `${kernel.split(' ')[0]} ${shape}`
}

/** A CPU with the fused dot product also runs what others run; without it the fused one is emulated, and slow. */
function usefulDotKinds(dotKind: DotKind): ReadonlySet<DotKind> {
  if (dotKind === 'fused') return new Set(['fused', 'pairs', 'wide'])
  return new Set(dotKind === 'pairs' ? ['pairs', 'wide'] : ['wide'])
}

/** Milliseconds of one run, by case and round. */
function timeGroup(cases: readonly KernelCase[], modules: KernelModules): number[][] {
  const contestants = cases.map((kernelCase) => {
    const prepared = kernelCase.prepare(modules)
    checkResult(`${kernelCase.kernel} ${kernelCase.shape} ${kernelCase.dotKind}`, prepared)
    const runs = Math.max(1, Math.ceil(ROUND_MS / timeRuns(prepared.run, 1)))
    return { run: prepared.run, runs, timesMs: new Array<number>() }
  })
  for (let round = -WARM_UP_ROUNDS; round < ROUNDS; round++) {
    for (const { run, runs, timesMs } of contestants) {
      const tookMs = timeRuns(run, runs)
      if (round >= 0) timesMs.push(tookMs)
    }
  }
  return contestants.map(({ timesMs }) => timesMs.toSorted((a, b) => a - b))
}

function timeRuns(run: () => void, runs: number): number {
  const startMs = performance.now()
  for (let i = 0; i < runs; i++) run()
  return (performance.now() - startMs) / runs
}

function checkResult(name: string, { run, actual, expected, tolerance }: PreparedRun): void {
  run()
  const values = actual()
  if (values.length !== expected.length) throw new Error(`${name}: expected ${expected.length}, got ${values.length}`)
  values.forEach((value, i) => {
    const want = expected[i] ?? Number.NaN
    const error = Math.abs(value - want) / (1 + Math.abs(want))
    // Written so that NaN fails too.
    if (!(error <= tolerance)) throw new Error(`${name}: expected ${want} at ${i}, got ${value}`)
  })
}

function report({ kernel, shape, dotKind, unit, amount, idiom }: KernelCase, sorted: number[], peaks: Peak[]): void {
  const medianMs = sorted[Math.floor(sorted.length / 2)] ?? Number.NaN
  const rate = (ms: number) => Number((amount / ms / 1e6).toFixed(2))
  const peakGmacs = peaks.find((peak) => peak.idiom === idiom)?.gmacs
  const share = peakGmacs === undefined ? null : Number((rate(medianMs) / peakGmacs).toFixed(3))
  if (flags.json) {
    const rates = { medianMs, minMs: sorted[0], rate: rate(medianMs), bestRate: rate(sorted[0] ?? Number.NaN) }
    console.log(JSON.stringify({ bench: 'kernels', kernel, shape, dotKind, unit, ...rates, idiom, peakGmacs, share }))
    return
  }
  const numbers = [medianMs.toFixed(3), rate(medianMs).toFixed(1), rate(sorted[0] ?? Number.NaN).toFixed(1), unit]
  const percent = share === null ? '' : `${(100 * share).toFixed(0)} %`
  console.log([kernel, shape, idiom === null ? '' : dotKind, ...numbers, percent].map(pad).join(' '))
}

function printHeader(dotKind: DotKind, peaks: readonly Peak[]): void {
  console.log(`Node ${process.version}, V8 ${process.versions.v8}, ${cpus()[0]?.model ?? 'unknown CPU'}, one core`)
  console.log(`dot product: ${dotKind}, ${new Date().toISOString()}\n`)
  for (const { idiom, gmacs, bestGmacs } of peaks) {
    console.log(`peak ${idiom.padEnd(58)} ${gmacs.toFixed(1).padStart(7)} ${bestGmacs.toFixed(1).padStart(7)} GMAC/s`)
  }
  console.log(`\n${['kernel', 'shape', 'dot', 'ms', 'median', 'best', 'unit', 'of peak'].map(pad).join(' ')}`)
}

function pad(cell: string, column: number): string {
  return column < 2 ? cell.padEnd(19) : cell.padStart(column === 6 ? 11 : 8)
}

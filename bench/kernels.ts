// `npm run bench -- kernels`: each kernel alone, both builds, at the sizes of the embedded model and of flava-full.
// Every result is checked against the scalar reference before anything is timed.
import { cpus } from 'node:os'
import { allocQuantizedRows, createKernels } from '../src/wasm/kernels.ts'
import type { KernelBuild, KernelModules, Kernels, PackedWeight, QuantizedRows } from '../src/wasm/kernels.ts'
import { packWeight, quantizeWeight } from '../src/wasm/pack.ts'
import {
  attentionReference,
  geluReference,
  gemmReference,
  layerNormReference,
  quantizeRowsReference,
  softmaxReference,
} from '../src/wasm/reference.ts'
import { compileKernels } from '../tools/model/compile-kernels.ts'

interface PreparedRun {
  run: () => void
  /** What the kernel wrote, or the part of it that `expected` covers, after one run. */
  actual: () => Float32Array
  expected: ArrayLike<number>
  /** Largest |actual - expected| / (1 + |expected|) that the kernel's tests allow. */
  tolerance: number
}

interface KernelBench {
  kernel: string
  shape: string
  unit: 'GMAC/s' | 'Gelement/s'
  /** MACs or elements of one run. */
  amount: number
  prepare: (kernels: Kernels) => PreparedRun
}

const BUILDS: readonly KernelBuild[] = ['relaxed-simd', 'simd128']
const MAX_BYTES = 96 * 1024 * 1024
const EPS = 1e-12

/** Timed rounds per build; the builds take turns, so that a disturbance of the machine hits both. */
const ROUNDS = 15

/** One round repeats the kernel for at least this long: performance.now() is good to about 0.01 ms. */
const ROUND_MS = 20

const BENCHES: readonly KernelBench[] = [
  gemmBench(16, 192, 192),
  gemmBench(65, 192, 192),
  gemmBench(65, 768, 192),
  gemmBench(65, 192, 768),
  gemmBench(16, 768, 768),
  gemmBench(197, 768, 768),
  gemmBench(197, 3072, 768),
  gemmBench(197, 768, 3072),
  attentionBench(65, 6, 32),
  attentionBench(197, 12, 64),
  rowBench('quantizeRows', 197, 768, prepareQuantize),
  rowBench('layerNormF32', 197, 768, prepareLayerNorm),
  rowBench('softmaxF32', 197, 197, prepareSoftmax),
  rowBench('geluF32', 197, 3072, prepareGelu),
]

console.log(`Node ${process.version}, V8 ${process.versions.v8}, ${cpus()[0]?.model ?? 'unknown CPU'}, one thread\n`)
console.log(['kernel', 'shape', 'build', 'ms', 'med', 'best', 'unit'].map(pad).join(' '))
const kernelModules = await compileKernels()
for (const bench of BENCHES) {
  for (const { build, timesMs } of timeBuilds(bench, kernelModules)) {
    const sorted = timesMs.toSorted((a, b) => a - b)
    const medianMs = sorted[Math.floor(sorted.length / 2)] ?? Number.NaN
    const rate = (ms: number) => (bench.amount / ms / 1e6).toFixed(2)
    const numbers = [medianMs.toFixed(3), rate(medianMs), rate(sorted[0] ?? Number.NaN)]
    console.log([bench.kernel, bench.shape, build, ...numbers, bench.unit].map(pad).join(' '))
  }
}

function timeBuilds(bench: KernelBench, modules: KernelModules): { build: KernelBuild; timesMs: number[] }[] {
  const contestants = BUILDS.map((build) => {
    const prepared = bench.prepare(createKernels(modules, { maxBytes: MAX_BYTES, build }))
    checkResult(`${bench.kernel} ${bench.shape} ${build}`, prepared)
    // The first round also lets V8 reach its optimizing tier; it is not counted.
    const firstMs = timeRuns(prepared.run, 1)
    const runs = Math.max(1, Math.ceil(ROUND_MS / firstMs))
    timeRuns(prepared.run, runs)
    return { build, run: prepared.run, runs, timesMs: new Array<number>() }
  })
  for (let round = 0; round < ROUNDS; round++) {
    for (const { run, runs, timesMs } of contestants) timesMs.push(timeRuns(run, runs))
  }
  return contestants
}

/** Milliseconds of one run, averaged over `runs`. */
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

function gemmBench(m: number, n: number, k: number): KernelBench {
  const prepare = (kernels: Kernels): PreparedRun => {
    const src = noise(m * k)
    const { values, scales } = quantizeWeight(noise(n * k), n, k)
    const bias = noise(n)
    const weight = placeWeight(kernels, packWeight(values, n, k), scales, bias, n, k)
    const rows = placeRows(kernels, src, m, k)
    const outPtr = kernels.arena.alloc(m * n * 4)
    // The scalar twin takes seconds for all rows: the first and the last one show both ends of the row blocks.
    const ends = new Float32Array([...src.subarray(0, k), ...src.subarray((m - 1) * k)])
    const a = quantizeRowsReference(ends, 2, k)
    return {
      run: () => kernels.gemmI8U7(rows, weight, outPtr),
      actual: () => {
        const out = kernels.f32(outPtr, m * n)
        return new Float32Array([...out.subarray(0, n), ...out.subarray((m - 1) * n)])
      },
      expected: gemmReference({ a, weight: values, weightScales: scales, bias, m: 2, n, k }),
      tolerance: 0,
    }
  }
  return { kernel: 'gemmI8U7', shape: `m${m} n${n} k${k}`, unit: 'GMAC/s', amount: m * n * k, prepare }
}

function attentionBench(seqLen: number, numHeads: number, headDim: number): KernelBench {
  const length = seqLen * numHeads * headDim
  const prepare = (kernels: Kernels): PreparedRun => {
    const [q, k, v] = [noise(length, 1), noise(length, 2), noise(length, 3)]
    const [qPtr, kPtr, vPtr] = [place(kernels, q), place(kernels, k), place(kernels, v)]
    const outPtr = kernels.arena.alloc(length * 4)
    return {
      run: () => kernels.attentionF32(qPtr, kPtr, vPtr, outPtr, seqLen, numHeads, headDim),
      actual: () => kernels.f32(outPtr, length),
      expected: attentionReference(q, k, v, seqLen, numHeads, headDim),
      tolerance: 4e-6,
    }
  }
  const amount = 2 * seqLen * length
  return { kernel: 'attentionF32', shape: `${seqLen} x ${numHeads} x ${headDim}`, unit: 'GMAC/s', amount, prepare }
}

type PrepareRows = (kernels: Kernels, src: Float32Array, m: number, width: number) => PreparedRun

function rowBench(kernel: string, m: number, width: number, prepareRows: PrepareRows): KernelBench {
  const prepare = (kernels: Kernels) => prepareRows(kernels, noise(m * width), m, width)
  return { kernel, shape: `${m} x ${width}`, unit: 'Gelement/s', amount: m * width, prepare }
}

function prepareQuantize(kernels: Kernels, src: Float32Array, m: number, width: number): PreparedRun {
  const srcPtr = place(kernels, src)
  const rows = allocQuantizedRows(kernels.arena, m, width)
  return {
    run: () => kernels.quantizeRows(srcPtr, m, width, rows),
    actual: () => kernels.f32(rows.scalePtr, m),
    expected: quantizeRowsReference(src, m, width).scales,
    tolerance: 0,
  }
}

function prepareLayerNorm(kernels: Kernels, src: Float32Array, m: number, width: number): PreparedRun {
  const [gamma, beta] = [noise(width, 4), noise(width, 5)]
  const [srcPtr, gammaPtr, betaPtr] = [place(kernels, src), place(kernels, gamma), place(kernels, beta)]
  const dstPtr = kernels.arena.alloc(src.byteLength)
  return {
    run: () => kernels.layerNormF32(srcPtr, dstPtr, gammaPtr, betaPtr, m, width, EPS),
    actual: () => kernels.f32(dstPtr, src.length),
    expected: layerNormReference(src, gamma, beta, m, width, EPS),
    tolerance: 2e-6,
  }
}

function prepareSoftmax(kernels: Kernels, src: Float32Array, m: number, width: number): PreparedRun {
  const srcPtr = place(kernels, src)
  const dstPtr = kernels.arena.alloc(src.byteLength)
  return {
    run: () => kernels.softmaxF32(srcPtr, dstPtr, m, width),
    actual: () => kernels.f32(dstPtr, src.length),
    expected: softmaxReference(src, m, width),
    tolerance: 1e-6,
  }
}

function prepareGelu(kernels: Kernels, src: Float32Array): PreparedRun {
  const srcPtr = place(kernels, src)
  const dstPtr = kernels.arena.alloc(src.byteLength)
  return {
    run: () => kernels.geluF32(srcPtr, dstPtr, src.length),
    actual: () => kernels.f32(dstPtr, src.length),
    expected: Float64Array.from(src, geluReference),
    tolerance: 1e-6,
  }
}

function placeRows(kernels: Kernels, src: Float32Array, m: number, k: number): QuantizedRows {
  const rows = allocQuantizedRows(kernels.arena, m, k)
  kernels.quantizeRows(place(kernels, src), m, k, rows)
  return rows
}

function placeWeight(
  kernels: Kernels,
  packed: Uint8Array,
  scales: Float32Array,
  bias: Float32Array,
  n: number,
  k: number,
): PackedWeight {
  const dataPtr = kernels.arena.alloc(packed.length)
  kernels.u8(dataPtr, packed.length).set(packed)
  return { dataPtr, scalePtr: place(kernels, scales), biasPtr: place(kernels, bias), n, k }
}

function place(kernels: Kernels, values: Float32Array): number {
  const ptr = kernels.arena.alloc(values.byteLength)
  kernels.f32(ptr, values.length).set(values)
  return ptr
}

/** Uniform in [-2, 2) from a linear congruential generator (Numerical Recipes): the same numbers in every run. */
function noise(length: number, seed = 0): Float32Array {
  let state = seed
  return Float32Array.from({ length }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    return state / 2 ** 30 - 2
  })
}

function pad(cell: string, column: number): string {
  return column < 3 ? cell.padEnd(18) : cell.padStart(10)
}

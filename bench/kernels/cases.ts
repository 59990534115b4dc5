// Every kernel with inputs of a real layer's size, what it must give and what one run amounts to.
import { createKernels } from '../../src/wasm/kernels.ts'
import { allocQuantizedRows } from '../../src/wasm/quantized-rows.ts'
import type { QuantizedRows } from '../../src/wasm/quantized-rows.ts'
import type { DotKind, KernelModules, Kernels } from '../../src/wasm/kernels.ts'
import { K_STEP, MR, packRows, packScales, packWeight, quantizeWeight } from '../../src/wasm/pack.ts'
import {
  attentionReference,
  geluReference,
  gemmReference,
  layerNormReference,
  quantizeRowsReference,
} from '../../src/wasm/reference.ts'
import { linearFormat } from '../../src/wasm/schemes.ts'
import type { LinearScheme } from '../../src/wasm/schemes.ts'
import { FUSED_DOT, INT16_DOT, INT16_SUMS, QUADS_TO_INT32 } from './peaks.ts'

export interface PreparedRun {
  run: () => void
  /** What the kernel wrote, or the part of it that `expected` covers, after one run. */
  actual: () => Float32Array
  expected: ArrayLike<number>
  /** Largest |actual - expected| / (1 + |expected|) that the kernel's tests allow. */
  tolerance: number
}

export interface KernelCase {
  kernel: string
  shape: string
  dotKind: DotKind
  unit: 'GMAC/s' | 'Gelement/s'
  /** MACs or elements of one run. */
  amount: number
  /** The idiom whose peak bounds it; none for element-wise kernels. */
  idiom: string | null
  prepare: (modules: KernelModules) => PreparedRun
}

type Fill = (kernels: Kernels) => PreparedRun

const MAX_BYTES = 96 * 1024 * 1024
const EPS = 1e-12
const SCHEMES: readonly LinearScheme[] = ['w7', 'w6g64', 'w5g64', 'w4g64', 'w4g32']
const DOT_KINDS: readonly DotKind[] = ['fused', 'pairs', 'wide']

/** m, n, k: the embedded model's largest Linear, then flava-full's for texts of 16 and 77 tokens and a picture. */
const GEMM_SHAPES: readonly (readonly [number, number, number])[] = [
  [65, 768, 192],
  [16, 768, 768],
  [77, 768, 768],
  [197, 768, 768],
  [197, 3072, 768],
  [197, 768, 3072],
]

/** @param dotKinds those worth timing on this CPU */
export function kernelCases(dotKinds: ReadonlySet<DotKind>): KernelCase[] {
  const kinds = DOT_KINDS.filter((kind) => dotKinds.has(kind))
  return [
    ...GEMM_SHAPES.flatMap(([m, n, k]) => [
      ...SCHEMES.flatMap((scheme) => kinds.map((dotKind) => gemmCase(scheme, dotKind, m, n, k))),
      gemmCase('w8', 'wide', m, n, k),
    ]),
    attentionCase(65, 6, 32),
    attentionCase(16, 12, 64),
    attentionCase(77, 12, 64),
    attentionCase(197, 12, 64),
    rowCase('quantizeRows', 197, 3072, prepareQuantize),
    rowCase('layerNormQuantize', 197, 768, prepareLayerNorm),
    rowCase('geluF32', 197, 3072, prepareGelu),
  ]
}

function onDot(dotKind: DotKind, fill: Fill): (modules: KernelModules) => PreparedRun {
  return (modules) => {
    const build = dotKind === 'wide' ? 'simd128' : 'relaxed-simd'
    return fill(createKernels(modules, { maxBytes: MAX_BYTES, build, dotKind }))
  }
}

function gemmCase(scheme: LinearScheme, dotKind: DotKind, m: number, n: number, k: number): KernelCase {
  const idioms = { fused: FUSED_DOT, pairs: scheme.startsWith('w4') ? INT16_SUMS : QUADS_TO_INT32, wide: INT16_DOT }
  return {
    kernel: `gemm ${scheme}`,
    shape: `m${m} n${n} k${k}`,
    dotKind,
    unit: 'GMAC/s',
    amount: m * n * k,
    idiom: idioms[dotKind],
    prepare: onDot(dotKind, (kernels) => prepareGemm(kernels, scheme, m, n, k)),
  }
}

function prepareGemm(kernels: Kernels, scheme: LinearScheme, m: number, n: number, k: number): PreparedRun {
  const src = noise(m * k)
  const { values, scales } = quantizeWeight(scheme, noise(n * k, 1), n, k)
  const bias = noise(n, 2)
  const weight = {
    scheme,
    dataPtr: placeBytes(kernels, packWeight(scheme, values, n, k)),
    scalePtr: placeBytes(kernels, packScales(scheme, scales, n, k)),
    biasPtr: place(kernels, bias),
    n,
    k,
  }
  const rows = allocQuantizedRows(kernels.arena, m, k)
  kernels.quantizeRows(place(kernels, src), m, k, rows)
  const outPtr = kernels.arena.alloc(m * n * 4)
  // The scalar twin takes seconds for all rows: the first and the last one show both ends of the row blocks.
  const ends = new Float32Array([...src.subarray(0, k), ...src.subarray((m - 1) * k)])
  const a = quantizeRowsReference(ends, 2, k)
  const { group } = linearFormat(scheme, k)
  return {
    run: () => kernels.gemm(rows, weight, outPtr),
    actual: () => {
      const out = kernels.f32(outPtr, m * n)
      return new Float32Array([...out.subarray(0, n), ...out.subarray((m - 1) * n)])
    },
    expected: gemmReference({ a, weight: values, weightScales: scales, bias, m: 2, n, k, group }),
    tolerance: 0,
  }
}

function attentionCase(seqLen: number, numHeads: number, headDim: number): KernelCase {
  const length = seqLen * numHeads * headDim
  const fill: Fill = (kernels) => {
    const [q, k, v] = [noise(length, 1), noise(length, 2), noise(length, 3)]
    const [qPtr, kPtr, vPtr] = [place(kernels, q), place(kernels, k), place(kernels, v)]
    const outPtr = kernels.arena.alloc(length * 4)
    return {
      run: () => kernels.attention(qPtr, kPtr, vPtr, outPtr, seqLen, numHeads, headDim),
      actual: () => kernels.f32(outPtr, length),
      expected: attentionReference(q, k, v, seqLen, numHeads, headDim),
      // The noise deviates by 1.15, so a score is off by a third more than with the tests' normal rows.
      tolerance: 1e-3,
    }
  }
  return {
    kernel: 'attention',
    shape: `${seqLen} x ${numHeads} x ${headDim}`,
    dotKind: 'wide',
    unit: 'GMAC/s',
    amount: 2 * seqLen * length,
    idiom: INT16_DOT,
    prepare: onDot('wide', fill),
  }
}

type PrepareRows = (kernels: Kernels, src: Float32Array, m: number, width: number) => PreparedRun

function rowCase(kernel: string, m: number, width: number, prepareRows: PrepareRows): KernelCase {
  const fill: Fill = (kernels) => prepareRows(kernels, noise(m * width), m, width)
  const shape = `${m} x ${width}`
  const amount = m * width
  return { kernel, shape, dotKind: 'wide', unit: 'Gelement/s', amount, idiom: null, prepare: onDot('wide', fill) }
}

function prepareQuantize(kernels: Kernels, src: Float32Array, m: number, width: number): PreparedRun {
  const srcPtr = place(kernels, src)
  const rows = allocQuantizedRows(kernels.arena, m, width)
  const reference = quantizeRowsReference(src, m, width)
  return {
    run: () => kernels.quantizeRows(srcPtr, m, width, rows),
    actual: () => Float32Array.from([...kernels.f32(rows.scalePtr, m), ...packedCodes(kernels, rows)]),
    expected: Float32Array.from([...reference.scales, ...packRows(reference.values, m, width)]),
    tolerance: 0,
  }
}

/** Rounded to the steps of its row, whose scale is the largest magnitude / 127, it is the norm to half a step. */
function prepareLayerNorm(kernels: Kernels, src: Float32Array, m: number, width: number): PreparedRun {
  const [gamma, beta] = [noise(width, 4), noise(width, 5)]
  const [srcPtr, gammaPtr, betaPtr] = [place(kernels, src), place(kernels, gamma), place(kernels, beta)]
  const rows = allocQuantizedRows(kernels.arena, m, width)
  const normed = Float32Array.from(layerNormReference(src, gamma, beta, m, width, EPS))
  const { scales } = quantizeRowsReference(normed, m, width)
  return {
    run: () => kernels.layerNormQuantize(srcPtr, gammaPtr, betaPtr, m, width, EPS, rows),
    actual: () => dequantized(packedCodes(kernels, rows), kernels.f32(rows.scalePtr, m), width),
    expected: normed,
    tolerance: Math.max(...scales) / 2 + 2e-6,
  }
}

function packedCodes(kernels: Kernels, { dataPtr, m, k }: QuantizedRows): Int8Array {
  return new Int8Array(kernels.u8(dataPtr, Math.ceil(m / MR) * MR * k).slice().buffer)
}

/** @param packed i8 [ceil(m/4)][k/4][4 rows][4 k] */
function dequantized(packed: Int8Array, scales: Float32Array, k: number): Float32Array {
  return Float32Array.from({ length: scales.length * k }, (_, index) => {
    const [row, column] = [Math.floor(index / k), index % k]
    const step = Math.floor(row / MR) * (k / K_STEP) + Math.floor(column / K_STEP)
    const code = packed[(step * MR + (row % MR)) * K_STEP + (column % K_STEP)] ?? 0
    return code * (scales[row] ?? 0)
  })
}

function prepareGelu(kernels: Kernels, src: Float32Array): PreparedRun {
  const srcPtr = place(kernels, src)
  const dstPtr = kernels.arena.alloc(src.byteLength)
  return {
    run: () => kernels.geluF32(srcPtr, dstPtr, src.length),
    actual: () => kernels.f32(dstPtr, src.length),
    expected: Float64Array.from(src, geluReference),
    tolerance: 2e-6,
  }
}

function place(kernels: Kernels, values: Float32Array): number {
  const ptr = kernels.arena.alloc(values.byteLength)
  kernels.f32(ptr, values.length).set(values)
  return ptr
}

function placeBytes(kernels: Kernels, bytes: Uint8Array): number {
  const ptr = kernels.arena.alloc(bytes.length)
  kernels.u8(ptr, bytes.length).set(bytes)
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

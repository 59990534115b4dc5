// The quantized matrix product: exact integers on every dot product there is, and a float epilogue that rounds as the
// scalar twin does.
import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { allocQuantizedRows } from '../../src/wasm/quantized-rows.ts'
import type { GemmOptions, Kernels, PackedWeight } from '../../src/wasm/kernels.ts'
import type { QuantizedRows } from '../../src/wasm/quantized-rows.ts'
import { packRows, packScales, packWeight, quantizeWeight, roundToBf16 } from '../../src/wasm/pack.ts'
import { geluReference, gemmReference, quantizeRowsReference } from '../../src/wasm/reference.ts'
import type { GemmReferenceInput } from '../../src/wasm/reference.ts'
import { LINEAR_SCHEMES, linearFormat } from '../../src/wasm/schemes.ts'
import type { LinearScheme } from '../../src/wasm/schemes.ts'
import { expectSameOnEveryDot } from './load-kernels.ts'
import { createRandom, randomInt8, randomNormal } from './random.ts'
import { fencedF32, maxError, placeBytes, placeF32 } from './tensors.ts'

interface GemmCase extends GemmReferenceInput {
  scheme: LinearScheme
}

interface Sizes {
  m: number
  n: number
  k: number
}

/** Every value that the scheme can hold is equally likely; group scales of both signs. */
function randomCase(seed: number, scheme: LinearScheme, sizes: Sizes): GemmCase {
  const { m, n, k } = sizes
  const { minValue, maxValue } = linearFormat(scheme, k)
  const random = createRandom(seed + 1)
  const weight = Int8Array.from({ length: n * k }, () => minValue + Math.floor(random() * (maxValue - minValue + 1)))
  return gemmCase(seed, scheme, sizes, randomInt8(seed, m * k, 127), weight)
}

function gemmCase(
  seed: number,
  scheme: LinearScheme,
  { m, n, k }: Sizes,
  values: Int8Array,
  weight: Int8Array,
): GemmCase {
  const { bits, group } = linearFormat(scheme, k)
  const scales = randomNormal(seed + 2, m, 0.01).map(Math.abs)
  const weightScales = randomNormal(seed + 3, group === 0 ? 0 : (n * k) / group, 0.01).map((scale) =>
    bits < 7 ? roundToBf16(scale) : Math.abs(scale),
  )
  return { scheme, a: { values, scales }, weight, weightScales, bias: randomNormal(seed + 4, n), m, n, k, group }
}

/** The integers themselves: scales 1 and no bias. */
function withoutScales(input: GemmCase): GemmCase {
  return {
    ...input,
    a: { ...input.a, scales: new Float32Array(input.m).fill(1) },
    weightScales: input.weightScales.map(() => 1),
    bias: new Float32Array(input.n),
  }
}

/** Places quantized rows as quantizeRows would, but with the integers of the case. */
function placeRows(kernels: Kernels, { a, m, k }: GemmCase): QuantizedRows {
  const rows = allocQuantizedRows(kernels.arena, m, k)
  kernels.i8(rows.dataPtr, Math.ceil(m / 4) * 4 * k).set(packRows(a.values, m, k))
  kernels.f32(rows.scalePtr, Math.ceil(m / 4) * 4).fill(1)
  kernels.f32(rows.scalePtr, m).set(a.scales)
  return rows
}

function placeWeight(kernels: Kernels, { scheme, weight, weightScales, bias, n, k }: GemmCase): PackedWeight {
  return {
    scheme,
    dataPtr: placeBytes(kernels, packWeight(scheme, weight, n, k)),
    scalePtr: placeBytes(kernels, packScales(scheme, weightScales, n, k)),
    biasPtr: placeF32(kernels, bias),
    n,
    k,
  }
}

/** The kernel's output on every dot product; `fencedF32` sees writes past row m. */
function runGemm(input: GemmCase, options?: GemmOptions, initial?: Float32Array): Float32Array {
  return expectSameOnEveryDot((kernels) => {
    const rows = placeRows(kernels, input)
    const weight = placeWeight(kernels, input)
    const out = fencedF32(kernels, initial ?? new Float32Array(input.m * input.n).fill(Number.NaN))
    const usedBytes = kernels.arena.usedBytes
    kernels.gemm(rows, weight, out.ptr, options)
    expect(kernels.arena.usedBytes).toBe(usedBytes)
    return out.read()
  })
}

/** Smallest step of k that every scheme of these can hold. */
function kStep(scheme: LinearScheme): number {
  return { w8: 4, w7: 4, w6g64: 64, w5g64: 64, w4g64: 64, w4g32: 32 }[scheme]
}

describe.each([...LINEAR_SCHEMES])('gemm %s', (scheme) => {
  test.each([
    [1, 8, 1],
    [2, 8, 2],
    [3, 16, 3],
    [4, 8, 4],
    [5, 24, 5],
    [7, 192, 3],
    [9, 64, 12],
    [0, 8, 2],
    [5, 0, 2],
  ])('equals the scalar reference to the last bit for m %i, n %i and %i steps of k', (m, n, kSteps) => {
    const input = randomCase(m * 7919 + n * 31 + kSteps, scheme, { m, n, k: kSteps * kStep(scheme) })
    expect(runGemm(input)).toEqual(gemmReference(input))
  })

  // On int16 pairs: from 32 rows and 32 columns on by Strassen's algorithm, 208 rows at a time, columns by 32, 16 and 8.
  test.each([
    [31, 40, 1],
    [32, 32, 1],
    [33, 40, 2],
    [34, 56, 3],
    [36, 96, 1],
    [207, 32, 1],
    [211, 48, 1],
    [245, 40, 1],
  ])('equals the scalar reference to the last bit for many rows: m %i, n %i and %i steps of k', (m, n, kSteps) => {
    const input = randomCase(m * 7919 + n * 31 + kSteps, scheme, { m, n, k: kSteps * kStep(scheme) })
    expect(runGemm(input)).toEqual(gemmReference(input))
  })

  test('equals the scalar reference to the last bit on random shapes', () => {
    const counts = [13, 5, 6].map((max) => fc.integer({ min: 0, max }))
    fc.assert(
      fc.property(fc.tuple(...counts), fc.integer(), ([m = 0, panels = 0, kSteps = 0], seed) => {
        const input = randomCase(seed, scheme, { m, n: panels * 8, k: kSteps * kStep(scheme) })
        expect(runGemm(input)).toEqual(gemmReference(input))
      }),
      { seed: 20261, numRuns: 40 },
    )
  })

  test('is the bias alone when k is 0', () => {
    const input = randomCase(5, scheme, { m: 3, n: 8, k: 0 })
    expect(runGemm(input)).toEqual(Float32Array.from([...input.bias, ...input.bias, ...input.bias]))
  })

  test.each([
    ['activations 127, the largest weights', 127, 'maxValue'],
    ['activations -127, the largest weights', -127, 'maxValue'],
    ['activations 127, the smallest weights', 127, 'minValue'],
    ['activations -127, the smallest weights', -127, 'minValue'],
    ['activations -1, the smallest weights', -1, 'minValue'],
  ] as const)('does not saturate anywhere at k 3072: %s', (_, activation, extreme) => {
    const sizes = { m: 33, n: 40, k: 3072 }
    const weight = linearFormat(scheme, sizes.k)[extreme]
    const values = new Int8Array(sizes.m * sizes.k).fill(activation)
    const input = gemmCase(11, scheme, sizes, values, new Int8Array(sizes.n * sizes.k).fill(weight))
    const expected = new Float32Array(sizes.m * sizes.n).fill(activation * weight * sizes.k)
    expect(runGemm(withoutScales(input))).toEqual(expected)
  })

  test('keeps sums of the largest codes exact against +-127 in every order', () => {
    const sizes = { m: 36, n: 40, k: 128 }
    const { minValue, maxValue } = linearFormat(scheme, sizes.k)
    const signs = (i: number) => (i >> (Math.floor(i / sizes.k) + 1)) % 2 === 0
    const values = Int8Array.from({ length: sizes.m * sizes.k }, (__, i) => (signs(i) ? 127 : -127))
    for (const value of [minValue, maxValue]) {
      const input = gemmCase(12, scheme, sizes, values, new Int8Array(sizes.n * sizes.k).fill(value))
      expect(runGemm(input)).toEqual(gemmReference(input))
    }
  })

  test("keeps Strassen's factors exact: blocks of the largest magnitude in patterns of signs", () => {
    // S4 and B21 - T2 add up four blocks; rows, columns and steps of one block have one sign here.
    const sizes = { m: 32, n: 32, k: 128 }
    const { minValue, maxValue } = linearFormat(scheme, sizes.k)
    for (let pattern = 0; pattern < 256; pattern += 5) {
      const blockOf = (outer: number, i: number) => 2 * outer + ((i >> 2) & 1)
      const values = Int8Array.from({ length: sizes.m * sizes.k }, (__, i) =>
        (pattern >> blockOf((Math.floor(i / sizes.k) >> 1) & 1, i % sizes.k)) & 1 ? 127 : -127,
      )
      const weight = Int8Array.from({ length: sizes.n * sizes.k }, (__, i) =>
        (pattern >> (4 + blockOf(Math.floor(i / sizes.k) >> 4, i % sizes.k))) & 1 ? maxValue : minValue,
      )
      const input = gemmCase(12, scheme, sizes, values, weight)
      expect(runGemm(input)).toEqual(gemmReference(input))
    }
  })

  test('puts every weight in its own column and every row in its own place', () => {
    // One 1 per row of weights: column c copies activation c, so a wrong index shows as a wrong number.
    const sizes = { m: 6, n: 64, k: 64 }
    const values = Int8Array.from({ length: sizes.m * sizes.k }, (_, i) => (i % 255) - 127)
    const weight = Int8Array.from({ length: sizes.n * sizes.k }, (_, i) =>
      Math.floor(i / sizes.k) === i % sizes.k ? 1 : 0,
    )
    expect(runGemm(withoutScales(gemmCase(13, scheme, sizes, values, weight)))).toEqual(Float32Array.from(values))
  })

  test('from floats to floats is within the rounding of the weights and of 8-bit rows', () => {
    // End to end through quantizeRows and quantizeWeight: each product is off by at most half a step of either factor.
    const sizes = { m: 5, n: 16, k: 128 }
    const { m, n, k } = sizes
    const [src, exactWeight] = [randomNormal(21, m * k), randomNormal(22, n * k, 0.05)]
    const { values, scales } = quantizeWeight(scheme, exactWeight, n, k)
    const a = quantizeRowsReference(src, m, k)
    const input = { ...gemmCase(23, scheme, sizes, a.values, values), a, weightScales: scales }
    const out = expectSameOnEveryDot((kernels) => {
      const rows = allocQuantizedRows(kernels.arena, m, k)
      kernels.quantizeRows(placeF32(kernels, src), m, k, rows)
      const fenced = fencedF32(kernels, new Float32Array(m * n))
      kernels.gemm(rows, placeWeight(kernels, input), fenced.ptr)
      return fenced.read()
    })
    out.forEach((value, index) => {
      const { exact, bound } = exactProduct(input, src, exactWeight, Math.floor(index / n), index % n)
      expect(Math.abs(value - exact)).toBeLessThanOrEqual(bound)
    })
  })
})

/** The product of the floats themselves in float64, and how far rounding both factors can take it. */
function exactProduct(input: GemmCase, src: Float32Array, weight: Float32Array, row: number, column: number) {
  const { a, weightScales, bias, k, group } = input
  const rowStep = a.scales[row] ?? 0
  let exact = bias[column] ?? 0
  let bound = 1e-5
  for (let i = 0; i < k; i++) {
    const [x, w] = [src[row * k + i] ?? 0, weight[column * k + i] ?? 0]
    const weightStep = Math.abs(weightScales[(column * k + i - (i % group)) / group] ?? 0)
    exact += x * w
    // bf16 may round a scale down by 2^-9, so that the largest value is clipped by that share of itself.
    const weightError = weightStep / 2 + Math.abs(w) * 2 ** -8
    bound += Math.abs(w) * rowStep * 0.5 + (Math.abs(x) + rowStep * 0.5) * weightError
  }
  return { exact, bound }
}

describe('the epilogue of gemm', () => {
  test('with GELU is within 2e-6 of the exact function of the reference', () => {
    const input = randomCase(14, 'w7', { m: 7, n: 32, k: 64 })
    const scaled = { ...input, weightScales: input.weightScales.map((scale) => scale * 0.1) }
    const expected = Float64Array.from(gemmReference(scaled), geluReference)
    // What comes before GELU is exact, so this is the GELU's own error (gelu.test.ts measures it).
    expect(maxError(runGemm(scaled, { activation: 'gelu' }), expected)).toBeLessThan(2e-6)
  })

  test('with accumulate adds to the output, rounded once', () => {
    const input = randomCase(15, 'w6g64', { m: 6, n: 16, k: 64 })
    const residual = randomNormal(16, 6 * 16)
    const expected = gemmReference(input).map((value, i) => value + (residual[i] ?? 0))
    expect(runGemm(input, { accumulate: true }, residual)).toEqual(expected)
  })

  test('with GELU and accumulate applies GELU first', () => {
    const input = randomCase(17, 'w4g32', { m: 3, n: 8, k: 32 })
    const residual = randomNormal(18, 3 * 8)
    const activated = runGemm(input, { activation: 'gelu' })
    const expected = activated.map((value, i) => value + (residual[i] ?? 0))
    expect(runGemm(input, { activation: 'gelu', accumulate: true }, residual)).toEqual(expected)
  })
})

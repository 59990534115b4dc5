// The quantized matrix product: exact integers, a float epilogue that rounds as the scalar twin does.
import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { allocQuantizedRows } from '../../src/wasm/kernels.ts'
import type { GemmOptions, Kernels, PackedWeight, QuantizedRows } from '../../src/wasm/kernels.ts'
import { packRows, packWeight } from '../../src/wasm/pack.ts'
import { geluReference, gemmReference } from '../../src/wasm/reference.ts'
import type { GemmReferenceInput } from '../../src/wasm/reference.ts'
import { expectSameInBothBuilds } from './load-kernels.ts'
import { randomInt8, randomNormal } from './random.ts'
import { fencedF32, maxError, placeBytes, placeF32 } from './tensors.ts'

function randomCase(seed: number, m: number, n: number, k: number): GemmReferenceInput {
  return gemmCase(m, n, k, randomInt8(seed, m * k, 127), randomInt8(seed + 1, n * k, 63), seed)
}

function gemmCase(
  m: number,
  n: number,
  k: number,
  values: Int8Array,
  weight: Int8Array,
  seed: number,
): GemmReferenceInput {
  const inits = Int32Array.from({ length: m }, (_, row) => {
    return -64 * values.subarray(row * k, (row + 1) * k).reduce((sum, value) => sum + value, 0)
  })
  const scales = randomNormal(seed + 2, m, 0.01).map(Math.abs)
  const weightScales = randomNormal(seed + 3, n, 0.01).map(Math.abs)
  return { a: { values, scales, inits }, weight, weightScales, bias: randomNormal(seed + 4, n), m, n, k }
}

/** Places quantized rows as quantizeRows would, but with the integers of the case. */
function placeRows(kernels: Kernels, { a, m, k }: GemmReferenceInput): QuantizedRows {
  const rows = allocQuantizedRows(kernels.arena, m, k)
  kernels.i8(rows.dataPtr, Math.ceil(m / 4) * 4 * k).set(packRows(a.values, m, k))
  kernels.f32(rows.scalePtr, Math.ceil(m / 4) * 4).fill(1)
  kernels.f32(rows.scalePtr, m).set(a.scales)
  kernels.i32(rows.initPtr, Math.ceil(m / 4) * 4).fill(0)
  kernels.i32(rows.initPtr, m).set(a.inits)
  return rows
}

function placeWeight(kernels: Kernels, input: GemmReferenceInput): PackedWeight {
  return {
    dataPtr: placeBytes(kernels, packWeight(input.weight, input.n, input.k)),
    scalePtr: placeF32(kernels, input.weightScales),
    biasPtr: placeF32(kernels, input.bias),
    n: input.n,
    k: input.k,
  }
}

/** The kernel's output in both builds; `fencedF32` sees writes past row m. */
function gemmInBothBuilds(input: GemmReferenceInput, options?: GemmOptions, initial?: Float32Array): Float32Array {
  return expectSameInBothBuilds((kernels) => {
    const rows = placeRows(kernels, input)
    const weight = placeWeight(kernels, input)
    const out = fencedF32(kernels, initial ?? new Float32Array(input.m * input.n).fill(Number.NaN))
    kernels.gemmI8U7(rows, weight, out.ptr, options)
    return out.read()
  })
}

describe('gemmI8U7', () => {
  test.each([
    [1, 8, 4],
    [2, 8, 8],
    [3, 16, 12],
    [4, 8, 16],
    [5, 24, 20],
    [6, 8, 192],
    [7, 192, 192],
    [9, 64, 768],
    [0, 8, 16],
    [5, 0, 16],
  ])('equals the scalar reference to the last bit for m %i, n %i, k %i', (m, n, k) => {
    const input = randomCase(m * 7919 + n * 31 + k, m, n, k)
    expect(gemmInBothBuilds(input)).toEqual(gemmReference(input))
  })

  test('is the bias alone when k is 0', () => {
    const input = randomCase(5, 3, 8, 0)
    expect(gemmInBothBuilds(input)).toEqual(Float32Array.from([...input.bias, ...input.bias, ...input.bias]))
  })

  test.each([
    ['activations 127, weights 63', 127, 63],
    ['activations -127, weights 63', -127, 63],
    ['activations 127, weights -63', 127, -63],
    ['activations -127, weights -63', -127, -63],
    ['activations -1, weights 63', -1, 63],
  ])('does not saturate anywhere at k 3072: %s', (_, activation, weight) => {
    const [m, n, k] = [5, 16, 3072]
    const values = new Int8Array(m * k).fill(activation)
    const input = gemmCase(m, n, k, values, new Int8Array(n * k).fill(weight), 11)
    const ones = { ...input, a: { ...input.a, scales: new Float32Array(m).fill(1) } }
    const exact = { ...ones, weightScales: new Float32Array(n).fill(1), bias: new Float32Array(n) }
    expect(gemmInBothBuilds(exact)).toEqual(new Float32Array(m * n).fill(activation * weight * k))
  })

  test('keeps each int16 pair sum exact with the largest stored weight byte, 127, against +-127 in every order', () => {
    const [m, n, k] = [4, 8, 32]
    const values = Int8Array.from({ length: m * k }, (_, i) => ((i >> (Math.floor(i / k) + 1)) % 2 === 0 ? 127 : -127))
    const input = gemmCase(m, n, k, values, new Int8Array(n * k).fill(63), 12)
    expect(gemmInBothBuilds(input)).toEqual(gemmReference(input))
  })

  test('puts every weight in its own column and every row in its own place', () => {
    // One 1 per row of weights: column c copies activation c, so a wrong index shows as a wrong number.
    const [m, n, k] = [6, 24, 24]
    const values = Int8Array.from({ length: m * k }, (_, i) => (i % 255) - 127)
    const weight = Int8Array.from({ length: n * k }, (_, i) => (Math.floor(i / k) === i % k ? 1 : 0))
    const input = gemmCase(m, n, k, values, weight, 13)
    const exact = {
      ...input,
      a: { ...input.a, scales: new Float32Array(m).fill(1) },
      weightScales: new Float32Array(n).fill(1),
      bias: new Float32Array(n),
    }
    expect(gemmInBothBuilds(exact)).toEqual(Float32Array.from(values))
  })

  test('with GELU is within 1e-6 of the exact function of the reference', () => {
    const input = randomCase(14, 7, 32, 64)
    const scaled = { ...input, weightScales: input.weightScales.map((scale) => scale * 0.1) }
    const expected = Float64Array.from(gemmReference(scaled), geluReference)
    // The epilogue before GELU is exact, so this is the GELU's own error (gelu.test.ts measures it).
    expect(maxError(gemmInBothBuilds(scaled, { activation: 'gelu' }), expected)).toBeLessThan(1e-6)
  })

  test('with accumulate adds to the output, rounded once', () => {
    const input = randomCase(15, 6, 16, 32)
    const residual = randomNormal(16, 6 * 16)
    const expected = gemmReference(input).map((value, i) => value + (residual[i] ?? 0))
    expect(gemmInBothBuilds(input, { accumulate: true }, residual)).toEqual(expected)
  })

  test('with GELU and accumulate applies GELU first', () => {
    const input = randomCase(17, 3, 8, 16)
    const residual = randomNormal(18, 3 * 8)
    const activated = gemmInBothBuilds(input, { activation: 'gelu' })
    const expected = activated.map((value, i) => value + (residual[i] ?? 0))
    expect(gemmInBothBuilds(input, { activation: 'gelu', accumulate: true }, residual)).toEqual(expected)
  })

  test('equals the scalar reference to the last bit on random shapes', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 0, max: 13 }),
        fc.integer({ min: 0, max: 5 }),
        fc.integer({ min: 0, max: 30 }),
        fc.integer(),
        (m, panels, steps, seed) => {
          const input = randomCase(seed, m, panels * 8, steps * 4)
          expect(gemmInBothBuilds(input)).toEqual(gemmReference(input))
        },
      ),
      { seed: 20261, numRuns: 60 },
    )
  })

  test('from floats to floats is within the rounding of 7-bit weights and 8-bit rows', () => {
    // End to end through quantizeRows: each product is off by at most half a step of either factor.
    const [m, n, k] = [5, 16, 64]
    const src = randomNormal(21, m * k)
    const input = randomCase(22, m, n, k)
    const out = expectSameInBothBuilds((kernels) => {
      const rows = allocQuantizedRows(kernels.arena, m, k)
      kernels.quantizeRows(placeF32(kernels, src), m, k, rows)
      const fenced = fencedF32(kernels, new Float32Array(m * n))
      kernels.gemmI8U7(rows, placeWeight(kernels, input), fenced.ptr)
      return fenced.read()
    })
    for (let row = 0; row < m; row++) {
      const values = src.subarray(row * k, (row + 1) * k)
      const step = values.reduce((largest, value) => Math.max(largest, Math.abs(value)), 0) / 127
      for (let column = 0; column < n; column++) {
        const scale = input.weightScales[column] ?? 0
        let exact = input.bias[column] ?? 0
        let bound = 1e-5
        values.forEach((value, i) => {
          const weight = (input.weight[column * k + i] ?? 0) * scale
          exact += value * weight
          bound += Math.abs(weight) * step * 0.5
        })
        expect(Math.abs((out[row * n + column] ?? Number.NaN) - exact)).toBeLessThanOrEqual(bound)
      }
    }
  })
})

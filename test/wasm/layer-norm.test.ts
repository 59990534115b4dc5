// Layer normalization against float64, with rows far from zero and rows of no variance.
import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { allocQuantizedRows } from '../../src/wasm/quantized-rows.ts'
import { layerNormReference } from '../../src/wasm/reference.ts'
import { expectSameInBothBuilds } from './load-kernels.ts'
import { createRandom, randomNormal } from './random.ts'
import { fencedF32, maxError, placeF32 } from './tensors.ts'

/** FLAVA's. */
const EPS = 1e-12

/**
 * Mean and variance are sums of four lanes of hiddenSize / 4 terms: relative error below 768 / 4 * 6e-8 = 1.2e-5 at
 * worst; roundings partly cancel, so in practice it grows with the root of the count, sqrt(192) * 6e-8 = 8e-7. The
 * quotient is of order 1 and gamma of order 1.
 */
const TOLERANCE = 2e-6

function layerNormInBothBuilds(
  src: Float32Array,
  gamma: Float32Array,
  beta: Float32Array,
  m: number,
  eps = EPS,
): Float32Array {
  return expectSameInBothBuilds((kernels) => {
    const out = fencedF32(kernels, new Float32Array(src.length).fill(Number.NaN))
    const gammaPtr = placeF32(kernels, gamma)
    const betaPtr = placeF32(kernels, beta)
    kernels.layerNormF32(placeF32(kernels, src), out.ptr, gammaPtr, betaPtr, m, gamma.length, eps)
    return out.read()
  })
}

describe('layerNormF32', () => {
  test.each([
    [1, 4],
    [3, 8],
    [2, 12],
    [65, 192],
    [5, 768],
    [0, 8],
  ])('is within 2e-6 of the float64 reference for %i rows of %i', (m, hiddenSize) => {
    const src = randomNormal(m * 31 + hiddenSize, m * hiddenSize, 3)
    const gamma = randomNormal(2, hiddenSize)
    const beta = randomNormal(3, hiddenSize)
    const expected = layerNormReference(src, gamma, beta, m, hiddenSize, EPS)
    expect(maxError(layerNormInBothBuilds(src, gamma, beta, m), expected)).toBeLessThan(TOLERANCE)
  })

  test('keeps its digits on rows far from zero, where sum(x^2) - mean^2 would lose them', () => {
    const hiddenSize = 192
    const random = createRandom(4)
    // Multiples of 1/64 near 1000 are exact in float32 and so is their mean's neighbourhood: only the method counts.
    const src = Float32Array.from({ length: hiddenSize }, () => 1000 + Math.floor(random() * 128) / 64)
    const gamma = new Float32Array(hiddenSize).fill(1)
    const beta = new Float32Array(hiddenSize)
    const expected = layerNormReference(src, gamma, beta, 1, hiddenSize, EPS)
    // The mean, near 1000, is rounded to 6e-5 (and its sum a little more); the deviation is about 0.6.
    expect(maxError(layerNormInBothBuilds(src, gamma, beta, 1), expected)).toBeLessThan(5e-4)
  })

  test('gives beta for a row of equal values', () => {
    const beta = randomNormal(5, 8)
    const src = new Float32Array(8).fill(0.75)
    expect(layerNormInBothBuilds(src, randomNormal(6, 8), beta, 1)).toEqual(beta)
  })

  test('uses eps: a row with variance eps comes out at 1 / sqrt 2', () => {
    const src = Float32Array.of(1e-3, -1e-3, 1e-3, -1e-3)
    const actual = layerNormInBothBuilds(src, new Float32Array(4).fill(1), new Float32Array(4), 1, 1e-6)
    expect(maxError(actual, [Math.SQRT1_2, -Math.SQRT1_2, Math.SQRT1_2, -Math.SQRT1_2])).toBeLessThan(TOLERANCE)
  })

  test.each([1, 2, 3, 4, 5, 7])('may write over its input, %i rows', (m) => {
    const src = randomNormal(7, m * 16)
    const gamma = randomNormal(8, 16)
    const beta = randomNormal(9, 16)
    const inPlace = expectSameInBothBuilds((kernels) => {
      const out = fencedF32(kernels, src)
      kernels.layerNormF32(out.ptr, out.ptr, placeF32(kernels, gamma), placeF32(kernels, beta), m, 16, EPS)
      return out.read()
    })
    expect(inPlace).toEqual(layerNormInBothBuilds(src, gamma, beta, m))
  })

  test('is within 2e-6 of the float64 reference on random shapes and magnitudes', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 0, max: 6 }),
        fc.integer({ min: 2, max: 64 }),
        fc.integer({ min: -8, max: 8 }),
        fc.integer(),
        (m, steps, exponent, seed) => {
          const hiddenSize = steps * 4
          const src = randomNormal(seed, m * hiddenSize, 2 ** exponent)
          const gamma = randomNormal(seed + 1, hiddenSize)
          const beta = randomNormal(seed + 2, hiddenSize)
          const expected = layerNormReference(src, gamma, beta, m, hiddenSize, EPS)
          expect(maxError(layerNormInBothBuilds(src, gamma, beta, m), expected)).toBeLessThan(TOLERANCE)
        },
      ),
      { seed: 20263, numRuns: 60 },
    )
  })
})

describe('layerNormQuantize', () => {
  function expectFusedAsInTwoSteps(src: Float32Array, m: number, hiddenSize: number): void {
    const [gamma, beta] = [randomNormal(1, hiddenSize), randomNormal(2, hiddenSize)]
    const quantized = (isFused: boolean) =>
      expectSameInBothBuilds((kernels) => {
        const srcPtr = placeF32(kernels, src)
        const [gammaPtr, betaPtr] = [placeF32(kernels, gamma), placeF32(kernels, beta)]
        const rows = allocQuantizedRows(kernels.arena, m, hiddenSize)
        const normed = fencedF32(kernels, new Float32Array(src.length))
        const usedBytes = kernels.arena.usedBytes
        if (isFused) kernels.layerNormQuantize(srcPtr, gammaPtr, betaPtr, m, hiddenSize, EPS, rows)
        else {
          kernels.layerNormF32(srcPtr, normed.ptr, gammaPtr, betaPtr, m, hiddenSize, EPS)
          kernels.quantizeRows(normed.ptr, m, hiddenSize, rows)
        }
        expect(kernels.arena.usedBytes).toBe(usedBytes)
        const paddedRows = Math.ceil(m / 4) * 4
        return kernels.u8(rows.dataPtr, paddedRows * hiddenSize + paddedRows * 4).slice()
      })
    expect(quantized(true)).toEqual(quantized(false))
  }

  test.each([
    [1, 4],
    [3, 8],
    [5, 12],
    [65, 192],
    [7, 768],
    [0, 16],
  ])('equals layerNormF32 then quantizeRows to the last bit for %i rows of %i', (m, hiddenSize) => {
    expectFusedAsInTwoSteps(randomNormal(m + hiddenSize, m * hiddenSize, 5), m, hiddenSize)
  })

  test('equals both to the last bit on random shapes and magnitudes, rows of equal values among them', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 0, max: 9 }),
        fc.integer({ min: 1, max: 64 }),
        fc.integer({ min: -8, max: 8 }),
        fc.integer(),
        (m, steps, exponent, seed) => {
          const src = randomNormal(seed, m * steps * 4, 2 ** exponent)
          src.fill(2 ** exponent, 0, steps * 4)
          expectFusedAsInTwoSteps(src, m, steps * 4)
        },
      ),
      { seed: 20264, numRuns: 60 },
    )
  })
})

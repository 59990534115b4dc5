// Row softmax: exp to 1e-6 relative, rows that sum to 1, any length.
import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { softmaxReference } from '../../src/wasm/reference.ts'
import { expectSameInBothBuilds } from './load-kernels.ts'
import { randomNormal } from './random.ts'
import { fencedF32, maxError, placeF32 } from './tensors.ts'

/**
 * A weight is exp(x - max) / sum. exp is within 2e-7 relative; the difference x - max is rounded once, which for
 * |x - max| < 32 shifts exp by at most 2e-6 relative, on weights that are then below exp(-16); sum and quotient add a
 * few 6e-8. All weights are at most 1, so 1e-6 absolute holds with room.
 */
const TOLERANCE = 1e-6

function softmaxInBothBuilds(src: Float32Array, m: number, length: number): Float32Array {
  return expectSameInBothBuilds((kernels) => {
    const out = fencedF32(kernels, new Float32Array(m * length).fill(Number.NaN))
    kernels.softmaxF32(placeF32(kernels, src), out.ptr, m, length)
    return out.read()
  })
}

describe('softmaxF32', () => {
  test.each([
    [1, 1],
    [3, 2],
    [2, 3],
    [5, 4],
    [4, 65],
    [2, 77],
    [3, 197],
    [1, 512],
    [0, 5],
    [5, 0],
  ])('is within 1e-6 of the float64 reference for %i rows of %i', (m, length) => {
    const src = randomNormal(m * 600 + length, m * length, 4)
    const actual = softmaxInBothBuilds(src, m, length)
    expect(maxError(actual, softmaxReference(src, m, length))).toBeLessThan(TOLERANCE)
    const rows = length === 0 ? 0 : m
    for (let row = 0; row < rows; row++) {
      const sum = actual.subarray(row * length, (row + 1) * length).reduce((total, value) => total + value, 0)
      expect(Math.abs(sum - 1)).toBeLessThan(TOLERANCE)
    }
  })

  test.each([
    ['from 0', 0],
    ['from -10 to the last normal result, exp(-87.33)', -10],
  ])('has exp within 1e-6 relative %s', (_, start) => {
    // The first element is the maximum, 0: every other weight divided by the first is exp of its own input.
    const src = Float32Array.from({ length: 8000 }, (__, i) => (i === 0 ? 0 : start - i * 0.0109))
    const actual = softmaxInBothBuilds(src, 1, src.length)
    const first = actual[0] ?? Number.NaN
    const sum = src.reduce((total, value) => total + Math.exp(value), 0)
    expect(Math.abs(first * sum - 1)).toBeLessThan(TOLERANCE)
    // The division by a large sum makes small weights subnormal, with fewer bits: stop there.
    const smallest = Math.log(2 ** -126 * sum)
    let largest = 0
    for (let i = 0; (src[i] ?? -Infinity) > smallest; i++) {
      const relative = Math.abs((actual[i] ?? Number.NaN) / first / Math.exp(src[i] ?? 0) - 1)
      largest = Math.max(largest, relative)
    }
    expect(largest).toBeLessThan(TOLERANCE)
  })

  test('has exp 0 where the result would be subnormal', () => {
    expect([...softmaxInBothBuilds(Float32Array.of(0, -88, -1000, -3e38), 1, 4)]).toEqual([1, 0, 0, 0])
  })

  test('is uniform over equal values of any size', () => {
    for (const value of [0, -3e38, 3e38, 1e-40]) {
      expect(softmaxInBothBuilds(new Float32Array(5).fill(value), 1, 5)).toEqual(new Float32Array(5).fill(0.2))
    }
  })

  test('makes a row NaN when one value is, and no other row', () => {
    const [first, ...rest] = softmaxInBothBuilds(Float32Array.of(1, Number.NaN, 2, 2), 2, 2)
    expect(first).toBeNaN()
    expect(rest.slice(1)).toEqual([0.5, 0.5])
  })

  test('may write over its input', () => {
    const src = randomNormal(7, 3 * 11)
    const inPlace = expectSameInBothBuilds((kernels) => {
      const out = fencedF32(kernels, src)
      kernels.softmaxF32(out.ptr, out.ptr, 3, 11)
      return out.read()
    })
    expect(inPlace).toEqual(softmaxInBothBuilds(src, 3, 11))
  })

  test('is within 1e-6 of the float64 reference on random shapes and spreads', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 0, max: 5 }),
        fc.integer({ min: 0, max: 40 }),
        fc.integer({ min: -10, max: 4 }),
        fc.integer(),
        (m, length, exponent, seed) => {
          const src = randomNormal(seed, m * length, 2 ** exponent)
          const actual = softmaxInBothBuilds(src, m, length)
          expect(maxError(actual, softmaxReference(src, m, length))).toBeLessThan(TOLERANCE)
        },
      ),
      { seed: 20262, numRuns: 60 },
    )
  })
})

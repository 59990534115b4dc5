// The packed layouts, pinned byte by byte, and the weight quantizer.
import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { packRows, packWeight, quantizeWeight, roundHalfToEven, unpackWeight } from '../../src/wasm/pack.ts'
import { randomInt8, randomNormal } from './random.ts'

describe('packWeight', () => {
  test('lays out [n/8][k/4][8 columns][4 k] with 64 added', () => {
    const [n, k] = [16, 8]
    const values = Int8Array.from({ length: n * k }, (_, i) => (i % 127) - 63)
    const packed = packWeight(values, n, k)
    let position = 0
    for (const panel of [0, 8]) {
      for (const step of [0, 4]) {
        for (let column = panel; column < panel + 8; column++) {
          for (let depth = step; depth < step + 4; depth++) {
            expect(packed[position++]).toBe((values[column * k + depth] ?? 0) + 64)
          }
        }
      }
    }
  })

  test('is undone by unpackWeight', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 0, max: 4 }),
        fc.integer({ min: 0, max: 9 }),
        fc.integer(),
        (panels, steps, seed) => {
          const [n, k] = [panels * 8, steps * 4]
          const values = randomInt8(seed, n * k, 63)
          expect(unpackWeight(packWeight(values, n, k), n, k)).toEqual(values)
        },
      ),
      { seed: 20265, numRuns: 50 },
    )
  })

  test.each([
    ['n not a multiple of 8', new Int8Array(4 * 4), 4, 4, 'n: expected a multiple of 8, got 4'],
    ['k not a multiple of 4', new Int8Array(8 * 6), 8, 6, 'k: expected a multiple of 4 up to 65536, got 6'],
    ['too few values', new Int8Array(31), 8, 4, 'values: expected 32 elements, got 31'],
    ['a value past 63', new Int8Array(32).fill(64), 8, 4, 'values: expected weights in [-63, 63], got 64'],
  ])('refuses %s', (_, values, n, k, message) => {
    expect(() => packWeight(values, n, k)).toThrow(message)
  })
})

describe('packRows', () => {
  test('lays out [ceil(m/4)][k/4][4 rows][4 k] and pads with zero rows', () => {
    const [m, k] = [5, 8]
    const values = Int8Array.from({ length: m * k }, (_, i) => i + 1)
    const packed = packRows(values, m, k)
    expect(packed).toHaveLength(8 * k)
    let position = 0
    for (const block of [0, 4]) {
      for (const step of [0, 4]) {
        for (let row = block; row < block + 4; row++) {
          for (let depth = step; depth < step + 4; depth++) {
            expect(packed[position++]).toBe(row < m ? values[row * k + depth] : 0)
          }
        }
      }
    }
  })
})

describe('quantizeWeight', () => {
  test('is within half a step of every weight, and reaches 63 in each channel', () => {
    const [n, k] = [8, 20]
    const weight = randomNormal(1, n * k, 0.05)
    const { values, scales } = quantizeWeight(weight, n, k)
    for (let row = 0; row < n; row++) {
      const scale = scales[row] ?? 0
      const channel = values.subarray(row * k, (row + 1) * k)
      expect(Math.max(...channel.map(Math.abs))).toBe(63)
      channel.forEach((value, i) => {
        // Half a step, and the rounding of the scale itself to float32.
        expect(Math.abs(value * scale - (weight[row * k + i] ?? 0))).toBeLessThanOrEqual(scale * 0.50001)
      })
    }
  })

  test('gives a channel of zeros the scale 1', () => {
    expect(quantizeWeight(new Float32Array(8), 2, 4)).toEqual({
      values: new Int8Array(8),
      scales: Float32Array.of(1, 1),
    })
  })
})

describe('roundHalfToEven', () => {
  test.each([
    [0.5, 0],
    [1.5, 2],
    [2.5, 2],
    [-0.5, 0],
    [-1.5, -2],
    [-2.5, -2],
    [2.4999, 2],
    [-2.5001, -3],
  ])('rounds %f to %i', (value, expected) => {
    expect(roundHalfToEven(value) + 0).toBe(expected)
  })
})

// Multi-head attention against float64: both head sizes, every remainder of the 4-query and 8-key tiles.
import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { attentionReference } from '../../src/wasm/reference.ts'
import { expectSameInBothBuilds } from './load-kernels.ts'
import { randomNormal } from './random.ts'
import { fencedF32, maxError, placeF32 } from './tensors.ts'

/**
 * q and k are rounded to 1 / 5792 of a row's largest value (headDim 64), so a score of deviation 1 is off by about 2e-4
 * and a weight by that share of itself; weights are rounded to 1 / 32767 of their sum and v to 1 / 32767 of a
 * dimension's largest. Each is a mean over many terms in the output. The 8-bit rows that the output is rounded to next
 * have steps twenty times as large as this bound.
 */
const TOLERANCE = 5e-4

/** Where all weight lies on one key, only the rounding of v is left: half of 1 / 32767 of the largest, which is below 4. */
const VALUE_TOLERANCE = 4 / 32767

/**
 * The same for q and k of any size, to first order. A score q·k / sqrt(d) is off by the roundings of q times k and of k
 * times q, each uniform within half a step: its deviation is sqrt((|k| stepQ)^2 + (|q| stepK)^2) / sqrt(12 d). The output
 * moves by the weighted mean of that times v less the output, which is of order 1. Two deviations of the pair
 * that would be worst, of the largest rows: measured 2.5e-3 of 6.6e-3 for a deviation of 3, 7.6e-3 of 9.1e-2 with a
 * channel eight times as large, 1.4e-2 of 6.6e-2 for a deviation of 10.
 */
function scoreTolerance({ q, k, headDim }: Heads): number {
  const levels = Math.floor(Math.sqrt(2 ** 31 / headDim))
  const rows = (values: Float32Array) =>
    Array.from({ length: values.length / headDim }, (_, row) => values.subarray(row * headDim, (row + 1) * headDim))
  const largest = (values: Float32Array) => values.reduce((max, value) => Math.max(max, Math.abs(value)), 0)
  const norm = (values: Float32Array) => Math.hypot(...values)
  const most = (of: (row: Float32Array) => number, values: Float32Array) => Math.max(...rows(values).map(of))
  const [stepQ, stepK] = [most(largest, q) / levels, most(largest, k) / levels]
  return 2 * (Math.hypot(most(norm, k) * stepQ, most(norm, q) * stepK) / Math.sqrt(12 * headDim))
}

interface Heads {
  q: Float32Array
  k: Float32Array
  v: Float32Array
  seqLen: number
  numHeads: number
  headDim: number
}

function randomHeads(seed: number, seqLen: number, numHeads: number, headDim: number): Heads {
  const length = seqLen * numHeads * headDim
  const [q, k, v] = [randomNormal(seed, length), randomNormal(seed + 1, length), randomNormal(seed + 2, length)]
  return { q, k, v, seqLen, numHeads, headDim }
}

function attentionInBothBuilds(heads: Heads, numQueries = heads.seqLen): Float32Array {
  const { q, k, v, seqLen, numHeads, headDim } = heads
  return expectSameInBothBuilds((kernels) => {
    const [qPtr, kPtr, vPtr] = [placeF32(kernels, q), placeF32(kernels, k), placeF32(kernels, v)]
    const out = fencedF32(kernels, new Float32Array(numQueries * numHeads * headDim).fill(Number.NaN))
    const usedBytes = kernels.arena.usedBytes
    // What an earlier pass left where the scratch will lie must not matter.
    const dirtBytes = 64 * 1024
    const mark = kernels.arena.mark()
    kernels.u8(kernels.arena.alloc(dirtBytes), dirtBytes).fill(0xff)
    kernels.arena.release(mark)
    kernels.attention(qPtr, kPtr, vPtr, out.ptr, seqLen, numHeads, headDim, numQueries)
    expect(kernels.arena.usedBytes).toBe(usedBytes)
    return out.read()
  })
}

function expectAttentionAsReference(heads: Heads): void {
  const { q, k, v, seqLen, numHeads, headDim } = heads
  const expected = attentionReference(q, k, v, seqLen, numHeads, headDim)
  expect(maxError(attentionInBothBuilds(heads), expected)).toBeLessThan(TOLERANCE)
}

describe('attention', () => {
  test.each([
    [1, 1, 8],
    [2, 3, 8],
    [3, 1, 8],
    [7, 2, 16],
    [8, 2, 32],
    [9, 6, 32],
    [65, 6, 32],
    [77, 2, 64],
    [197, 1, 64],
    [0, 2, 32],
    [5, 0, 32],
  ])('is within 5e-4 of the float64 reference for %i tokens, %i heads of %i', (seqLen, numHeads, headDim) => {
    expectAttentionAsReference(randomHeads(seqLen * 64 + headDim, seqLen, numHeads, headDim))
  })

  test('of one token is its value, rounded to 16 bits', () => {
    const heads = randomHeads(3, 1, 6, 32)
    expect(maxError(attentionInBothBuilds(heads), heads.v)).toBeLessThan(VALUE_TOLERANCE)
  })

  test('with equal keys is the mean of the values', () => {
    const heads = randomHeads(4, 5, 1, 8)
    const mean = Array.from({ length: 8 }, (_, d) => {
      return Array.from({ length: 5 }, (__, row) => heads.v[row * 8 + d] ?? 0).reduce((a, b) => a + b) / 5
    })
    const actual = attentionInBothBuilds({ ...heads, k: new Float32Array(40).fill(0.5) })
    expect(maxError(actual, [mean, mean, mean, mean, mean].flat())).toBeLessThan(TOLERANCE)
  })

  test('picks the one matching key when scores are far apart, without overflow', () => {
    // Row i of q is 20 (i + 1) e_i, of k 100 e_i: its own score is 2000 (i + 1) / sqrt 8, all others 0. Each query has
    // a maximum of its own, so that subtracting another one's would overflow.
    const seqLen = 8
    const q = Float32Array.from({ length: 64 }, (_, i) => (Math.floor(i / 8) === i % 8 ? 20 * (i % 8) + 20 : 0))
    const k = q.map((value) => (value === 0 ? 0 : 100))
    const heads = { ...randomHeads(5, seqLen, 1, 8), q, k }
    expect(maxError(attentionInBothBuilds(heads), heads.v)).toBeLessThan(VALUE_TOLERANCE)
  })

  test.each([
    [197, 64],
    [512, 64],
    [513, 64],
    [1024, 128],
  ])('overflows nowhere with %i equal keys of %i extreme dimensions', (seqLen, headDim) => {
    // Every product of q k^T and of weights v has the largest magnitude there is, and all of one sign.
    for (const [query, key, value] of [
      [1e4, 1e4, 3],
      [1e4, -1e4, -3],
    ] as const) {
      const fill = (x: number) => new Float32Array(seqLen * headDim).fill(x)
      const heads = { q: fill(query), k: fill(key), v: fill(value), seqLen, numHeads: 1, headDim }
      expect(maxError(attentionInBothBuilds(heads), heads.v)).toBeLessThan(2e-6)
    }
  })

  // Trained models have channels far larger than the others, and with them scores that softmax takes to its ends.
  test.each([
    [1, 1],
    [3, 1],
    [3, 8],
    [10, 1],
  ])(
    'is within the score error that |q| and |k| allow, for deviations of %d with a channel %d times as large',
    (deviation, outlier) => {
      const [seqLen, numHeads, headDim] = [65, 2, 64]
      const heads = randomHeads(12, seqLen, numHeads, headDim)
      for (const values of [heads.q, heads.k]) {
        for (const [index, value] of values.entries()) {
          values[index] = value * deviation * (index % headDim === 5 ? outlier : 1)
        }
      }
      const tolerance = TOLERANCE + scoreTolerance(heads)
      const expected = attentionReference(heads.q, heads.k, heads.v, seqLen, numHeads, headDim)
      expect(maxError(attentionInBothBuilds(heads), expected)).toBeLessThan(tolerance)
    },
  )

  test('gives rows of zeros where v is zero, and the mean of v where q is', () => {
    const heads = randomHeads(8, 6, 1, 8)
    expect(attentionInBothBuilds({ ...heads, v: new Float32Array(48) })).toEqual(new Float32Array(48))
    const zeroQuery = { ...heads, q: new Float32Array(48) }
    expectAttentionAsReference(zeroQuery)
  })

  test('makes NaN what depends on a NaN: of q its row, of k the head, of v its dimension', () => {
    const heads = randomHeads(10, 11, 2, 8)
    const withNaN = (values: Float32Array) => values.with(3 * 16 + 9, Number.NaN) // token 3, head 1, dimension 1
    const isNaNIn = (changed: Partial<Heads>, isExpected: (token: number, column: number) => boolean) => {
      const actual = attentionInBothBuilds({ ...heads, ...changed })
      const wrong = [...actual.keys()].filter((i) => Number.isNaN(actual[i]) !== isExpected(Math.floor(i / 16), i % 16))
      expect(wrong).toEqual([])
    }
    isNaNIn({ q: withNaN(heads.q) }, (token, column) => token === 3 && column >= 8)
    isNaNIn({ k: withNaN(heads.k) }, (_, column) => column >= 8)
    isNaNIn({ v: withNaN(heads.v) }, (_, column) => column === 9)
  })

  test('of the first queries alone gives the same rows to the last bit', () => {
    const heads = randomHeads(9, 21, 3, 16)
    const all = attentionInBothBuilds(heads)
    for (const numQueries of [0, 1, 3, 4, 5, 20]) {
      const first = attentionInBothBuilds(heads, numQueries)
      expect(first).toEqual(all.subarray(0, numQueries * 48))
    }
  })

  test('does not let one head or one query disturb another', () => {
    const heads = randomHeads(6, 10, 3, 8)
    const before = attentionInBothBuilds(heads)
    const q = heads.q.slice()
    q[9 * 24 + 8] = 50 // token 9, head 1
    const changed = attentionInBothBuilds({ ...heads, q })
    const differing = [...changed.keys()].filter((i) => changed[i] !== before[i])
    expect(differing.length).toBeGreaterThan(0)
    expect(differing.every((i) => i >= 9 * 24 + 8 && i < 9 * 24 + 16)).toBe(true)
  })

  test('is within 5e-4 of the float64 reference on random shapes', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 0, max: 21 }),
        fc.integer({ min: 1, max: 3 }),
        fc.integer({ min: 1, max: 8 }),
        fc.integer(),
        (seqLen, numHeads, eighths, seed) => {
          expectAttentionAsReference(randomHeads(seed, seqLen, numHeads, eighths * 8))
        },
      ),
      { seed: 20264, numRuns: 40 },
    )
  })
})

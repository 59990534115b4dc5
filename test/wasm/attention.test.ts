// Multi-head attention against float64: both head sizes, every remainder of the 8-query and 4-key tiles.
import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { attentionReference } from '../../src/wasm/reference.ts'
import { expectSameInBothBuilds } from './load-kernels.ts'
import { randomNormal } from './random.ts'
import { fencedF32, maxError, placeF32 } from './tensors.ts'

/**
 * With q, k, v of deviation 1 a score is a float32 sum of headDim products, off by a few 1e-7 of its terms; exp turns
 * that into the same relative error of a weight, and an output is a mean of v with those weights.
 */
const TOLERANCE = 4e-6

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

function attentionInBothBuilds({ q, k, v, seqLen, numHeads, headDim }: Heads): Float32Array {
  return expectSameInBothBuilds((kernels) => {
    const [qPtr, kPtr, vPtr] = [placeF32(kernels, q), placeF32(kernels, k), placeF32(kernels, v)]
    const out = fencedF32(kernels, new Float32Array(q.length).fill(Number.NaN))
    const usedBytes = kernels.arena.usedBytes
    // What an earlier pass left where the scratch will lie must not matter.
    const dirtBytes = 64 * 1024
    const mark = kernels.arena.mark()
    kernels.u8(kernels.arena.alloc(dirtBytes), dirtBytes).fill(0xff)
    kernels.arena.release(mark)
    kernels.attentionF32(qPtr, kPtr, vPtr, out.ptr, seqLen, numHeads, headDim)
    expect(kernels.arena.usedBytes).toBe(usedBytes)
    return out.read()
  })
}

function expectAttentionAsReference(heads: Heads): void {
  const { q, k, v, seqLen, numHeads, headDim } = heads
  const expected = attentionReference(q, k, v, seqLen, numHeads, headDim)
  expect(maxError(attentionInBothBuilds(heads), expected)).toBeLessThan(TOLERANCE)
}

describe('attentionF32', () => {
  test.each([
    [1, 1, 8],
    [2, 3, 8],
    [3, 1, 4],
    [7, 2, 16],
    [8, 2, 32],
    [9, 6, 32],
    [65, 6, 32],
    [77, 2, 64],
    [197, 1, 64],
    [0, 2, 32],
    [5, 0, 32],
  ])('is within 4e-6 of the float64 reference for %i tokens, %i heads of %i', (seqLen, numHeads, headDim) => {
    expectAttentionAsReference(randomHeads(seqLen * 64 + headDim, seqLen, numHeads, headDim))
  })

  test('of one token is its value, to the last bit', () => {
    const heads = randomHeads(3, 1, 6, 32)
    expect(attentionInBothBuilds(heads)).toEqual(heads.v)
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
    expect(attentionInBothBuilds(heads)).toEqual(heads.v)
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

  test('is within 4e-6 of the float64 reference on random shapes', () => {
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

// Retrieval metrics against a brute-force reference, a planted answer, pure noise, and ties.
import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { chanceOf, pessimisticRank, rankByDotProduct, recallsOf, wilsonInterval } from '../../../tools/eval/ranks.ts'

/** Uniform in [0, 1), mulberry32: the same numbers on every run. */
function createRandom(seed: number): () => number {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}

function unitVectors(count: number, dim: number, random: () => number): Float32Array[] {
  return Array.from({ length: count }, () => {
    // A sum of uniforms is near enough to normal for directions without a preferred axis.
    const vector = Float32Array.from({ length: dim }, () => random() + random() + random() + random() - 2)
    const norm = Math.hypot(...vector)
    return vector.map((value) => value / norm)
  })
}

const identity = (count: number): number[] => Array.from({ length: count }, (_, index) => index)

describe('pessimisticRank', () => {
  test('equals the place in a full sort that puts the target behind its equals', () => {
    const scores = fc.array(fc.integer({ min: -3, max: 3 }), { minLength: 1, maxLength: 30 })
    const property = fc.property(scores, fc.nat(), (values, choice) => {
      const target = choice % values.length
      const order = identity(values.length).toSorted(
        (a, b) => values[b]! - values[a]! || Number(a === target) - Number(b === target),
      )
      expect(pessimisticRank(values, target)).toBe(order.indexOf(target))
    })
    fc.assert(property, { seed: 7, numRuns: 500 })
  })

  test('puts the target last among equal scores and when a score is not a number', () => {
    expect(pessimisticRank([1, 1, 1, 1], 0)).toBe(3)
    expect(pessimisticRank([Number.NaN, 0, 0], 0)).toBe(2)
    expect(pessimisticRank([1, Number.NaN, 0], 0)).toBe(1)
  })
})

describe('rankByDotProduct', () => {
  test('recovers a planted signal completely: R@1 is 100', () => {
    const random = createRandom(1)
    const gallery = unitVectors(200, 32, random)
    const queries = gallery.map((vector) => vector.map((value) => value + 0.05 * (random() - 0.5)))
    expect(recallsOf(rankByDotProduct(queries, gallery, identity(200)))).toEqual({ r1: 100, r5: 100, r10: 100, n: 200 })
  })

  test('stands at chance for shuffled labels: within 1 point of R@1 0.5, R@5 2.5 and R@10 5 over 8,000 queries', () => {
    const random = createRandom(2)
    const queries = Array.from({ length: 40 }, () => unitVectors(200, 32, random))
    const ranked = queries.flatMap((batch) => rankByDotProduct(batch, unitVectors(200, 32, random), identity(200)))
    const recalls = recallsOf(ranked)
    const chance = chanceOf(ranked)
    expect(chance).toEqual({ r1: 0.5, r5: 2.5, r10: 5, n: 8000 })
    expect(Math.abs(recalls.r1 - chance.r1)).toBeLessThan(1)
    expect(Math.abs(recalls.r5 - chance.r5)).toBeLessThan(1)
    expect(Math.abs(recalls.r10 - chance.r10)).toBeLessThan(1)
  })

  test('an engine that gives every item the same vector scores 0', () => {
    const same = Array.from({ length: 20 }, () => Float32Array.of(0.6, 0.8))
    expect(recallsOf(rankByDotProduct(same, same, identity(20)))).toEqual({ r1: 0, r5: 0, r10: 0, n: 20 })
  })
})

describe('recallsOf and chanceOf', () => {
  test('count ranks below each cutoff, in percent to two decimals', () => {
    const ranked = [0, 4, 5, 9, 10, 500].map((rank) => ({ rank, gallerySize: 1000 }))
    expect(recallsOf(ranked)).toEqual({ r1: 16.67, r5: 33.33, r10: 66.67, n: 6 })
  })

  test('chance averages galleries of different sizes and stops at certainty', () => {
    expect(chanceOf([5, 100].map((gallerySize) => ({ rank: 0, gallerySize })))).toEqual({
      r1: 10.5,
      r5: 52.5,
      r10: 55,
      n: 2,
    })
  })
})

describe('wilsonInterval', () => {
  test('equals the formula worked out apart to 0.01 points: 15 of 50, 0 of 10, 10 of 10', () => {
    // Wilson's formula worked out apart from this code, with z = 1.959964.
    const cases = [
      [30, 50, 19.1, 43.75],
      [0, 10, 0, 27.75],
      [100, 10, 72.25, 100],
    ] as const
    for (const [percent, n, low, high] of cases) {
      const interval = wilsonInterval(percent, n)
      expect(Math.abs(interval[0] - low)).toBeLessThan(0.01)
      expect(Math.abs(interval[1] - high)).toBeLessThan(0.01)
    }
  })
})

// The figures of a parity report must never look better than the vectors are.
import { expect, test } from 'vitest'
import { areBitEqual, cosine, pairwiseCosines, summarizeCosines } from '../../../tools/export/similarity.ts'

test('cosine ignores length and sees direction', () => {
  expect(cosine(Float32Array.of(1, 2), Float32Array.of(2, 4))).toBeCloseTo(1, 12)
  expect(cosine(Float32Array.of(1, 0), Float32Array.of(0, 5))).toBe(0)
  expect(cosine(Float32Array.of(1, 1), Float32Array.of(-1, -1))).toBeCloseTo(-1, 12)
})

test('vectors or lists of unequal length are refused', () => {
  expect(() => cosine(Float32Array.of(1), Float32Array.of(1, 2))).toThrow('expected equal lengths, got 1 and 2')
  expect(() => pairwiseCosines([], [Float32Array.of(1)])).toThrow('expected 1 vectors, got 0')
})

test('summarizeCosines gives count, mean, first percentile and minimum', () => {
  const cosines = Array.from({ length: 200 }, (_, index) => 1 - index / 1024)
  expect(summarizeCosines(cosines)).toEqual({ count: 200, mean: 0.902832, p1: 0.807617, min: 0.805664 })
})

test('summarizeCosines rounds down, so that nothing is rounded up to a gate', () => {
  expect(summarizeCosines([0.99949999])).toMatchObject({ mean: 0.999499, min: 0.999499 })
})

test('summarizeCosines refuses nothing and NaN: neither is parity', () => {
  expect(() => summarizeCosines([])).toThrow('got none or NaN')
  expect(() => summarizeCosines([1, Number.NaN])).toThrow('got none or NaN')
})

test('areBitEqual sees one bit, the sign of zero and a missing vector', () => {
  expect(areBitEqual([Float32Array.of(1, 0)], [Float32Array.of(1, 0)])).toBe(true)
  expect(areBitEqual([Float32Array.of(1, 0)], [Float32Array.of(1, -0)])).toBe(false)
  expect(areBitEqual([Float32Array.of(1)], [])).toBe(false)
})

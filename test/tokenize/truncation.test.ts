// Longest-first truncation as arithmetic; its equality with Hugging Face is in tokenizer.test.ts.
import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { longestFirst } from '../../src/tokenize/truncation.ts'

test('longestFirst cuts only the longer side while the shorter one fits in half', () => {
  expect(longestFirst(3, 20, 10)).toEqual([3, 7])
  expect(longestFirst(20, 3, 10)).toEqual([7, 3])
  expect(longestFirst(20, 0, 10)).toEqual([10, 0])
})

test('longestFirst shares the room of two long sides and gives an odd token to the longer one', () => {
  expect(longestFirst(20, 21, 9)).toEqual([4, 5])
  expect(longestFirst(21, 20, 9)).toEqual([5, 4])
  expect(longestFirst(20, 20, 9)).toEqual([4, 5])
})

test('longestFirst fills the limit exactly and never lengthens a side', () => {
  const length = fc.integer({ min: 0, max: 200 })
  const property = fc.property(length, length, length, (first, second, limit) => {
    const [keptFirst, keptSecond] = longestFirst(first, second, limit)
    expect(keptFirst + keptSecond).toBe(Math.min(limit, first + second))
    expect(keptFirst).toBeLessThanOrEqual(first)
    expect(keptSecond).toBeLessThanOrEqual(second)
    expect(Math.min(keptFirst, keptSecond)).toBeGreaterThanOrEqual(0)
  })
  fc.assert(property, { seed: 1, numRuns: 1000 })
})

// Cutting requests into calls, and calls into passes.

import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { callBudget, splitCalls } from '../../src/services/split-calls.ts'
import { splitPasses } from '../../src/services/split-passes.ts'

const item = fc.record({ macs: fc.nat(100), bytes: fc.nat(100) })

test('splitCalls keeps every item in order and overruns a budget only with a single item', () => {
  fc.assert(
    fc.property(
      fc.array(item),
      fc.integer({ min: 1, max: 200 }),
      fc.integer({ min: 1, max: 200 }),
      (items, macs, bytes) => {
        const calls = splitCalls(items, { macs, bytes })
        expect(calls.flat()).toEqual(items)
        for (const call of calls) {
          const sums = call.reduce((sum, { macs: m, bytes: b }) => ({ macs: sum.macs + m, bytes: sum.bytes + b }), {
            macs: 0,
            bytes: 0,
          })
          expect(call.length === 1 || (sums.macs <= macs && sums.bytes <= bytes)).toBe(true)
        }
      },
    ),
    { seed: 21 },
  )
})

test('splitCalls makes one call of what fits and none of nothing', () => {
  const items = [1, 2, 3].map((macs) => ({ macs, bytes: 1 }))
  expect(splitCalls(items, { macs: 6, bytes: 3 })).toEqual([items])
  expect(splitCalls([], { macs: 1, bytes: 1 })).toEqual([])
})

test('callBudget holds a request to its number of calls, however uneven the items', () => {
  fc.assert(
    fc.property(fc.array(item, { maxLength: 256 }), fc.integer({ min: 1, max: 200 }), (items, callMacs) => {
      const budget = callBudget(items, { callMacs, maxCalls: 10, maxBytes: Infinity })
      expect(splitCalls(items, budget).length).toBeLessThanOrEqual(10)
    }),
    { seed: 22 },
  )
  const halves = Array.from({ length: 40 }, (_, i) => ({ macs: i % 2 === 0 ? 51 : 50, bytes: 1 }))
  expect(callBudget(halves, { callMacs: 1e9, maxCalls: 10, maxBytes: 7 })).toEqual({ macs: 1e9, bytes: 7 })
})

test('splitPasses covers all sequences without a gap, and a pass of several fits', () => {
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 1, max: 100 })), fc.integer({ min: 1, max: 500 }), (lengths, most) => {
      // The longest sequence counts twice, as its attention does.
      const fits = (tokens: number, longest: number) => tokens + longest <= most
      const passes = splitPasses(lengths, fits)
      expect(passes.flatMap(([first, end]) => lengths.slice(first, end))).toEqual(lengths)
      for (const [first, end] of passes) {
        const pass = lengths.slice(first, end)
        const tokens = pass.reduce((sum, length) => sum + length, 0)
        expect(pass.length === 1 || fits(tokens, Math.max(...pass))).toBe(true)
      }
    }),
    { seed: 23 },
  )
})

test('splitPasses gives a sequence that is too long for the budget a pass of its own', () => {
  expect(splitPasses([1, 1000, 1], (tokens) => tokens <= 12)).toEqual([
    [0, 1],
    [1, 2],
    [2, 3],
  ])
  expect(splitPasses([], () => true)).toEqual([])
})

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

test('splitPasses covers all sequences without a gap and holds each pass to 12 MiB of activations', () => {
  const bytesPerToken = 4 * (6 * 768 + 3072)
  const lengths = Array.from({ length: 40 }, () => 197)
  const passes = splitPasses(lengths, bytesPerToken)
  expect(passes[0]?.[0]).toBe(0)
  expect(passes.at(-1)?.[1]).toBe(40)
  for (const [i, [first, end]] of passes.entries()) {
    expect(first).toBe(i === 0 ? 0 : passes[i - 1]?.[1])
    expect((end - first) * 197 * bytesPerToken).toBeLessThanOrEqual(12 * 1024 * 1024)
  }
})

test('splitPasses gives a sequence that is too long for the budget a pass of its own', () => {
  expect(splitPasses([1, 1000, 1], 1024 * 1024)).toEqual([
    [0, 1],
    [1, 2],
    [2, 3],
  ])
  expect(splitPasses([], 1)).toEqual([])
})

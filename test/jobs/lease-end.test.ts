// What becomes of a job whose lease ends without a result, for every combination of facts.

import { describe, expect, test } from 'vitest'
import { afterLease, type LeaseEnd, type LeaseEndFacts } from '../../src/jobs/lease-end.ts'
import { stateAfter } from '../../src/jobs/states.ts'

const ENDS: LeaseEnd[] = ['retry', 'failed', 'handed_back', 'cancelled', 'paused', 'expired']
const FRESH: LeaseEndFacts = {
  attempt: 1,
  maxAttempts: 3,
  isCancelRequested: false,
  isPauseRequested: false,
  hasRuntimeLeft: true,
  hasAdvanced: false,
}
const LAST = { ...FRESH, attempt: 3 }
const booleans = [false, true]
const everything = ENDS.flatMap((end) =>
  booleans.flatMap((isCancelRequested) =>
    booleans.flatMap((isPauseRequested) =>
      booleans.flatMap((hasRuntimeLeft) =>
        [1, 3].map((attempt) => ({
          end,
          facts: { ...FRESH, isCancelRequested, isPauseRequested, hasRuntimeLeft, attempt },
        })),
      ),
    ),
  ),
)

test('every outcome is a legal move of a running job', () => {
  expect(everything).toHaveLength(96)
  for (const { end, facts } of everything) expect(stateAfter('running', afterLease(end, facts).move)).toBeDefined()
})

test('a job that its owner has cancelled ends as cancelled, however its lease ends', () => {
  for (const { end, facts } of everything.filter(({ facts: { isCancelRequested } }) => isCancelRequested))
    expect(afterLease(end, facts).move).toBe('cancel')
})

test('a job that has no time left fails, unless it was cancelled', () => {
  const late = everything.filter(({ facts }) => !facts.hasRuntimeLeft && !facts.isCancelRequested)
  for (const { end, facts } of late) expect(afterLease(end, facts).move).toBe('fail')
})

test('what the worker refuses is not tried again', () => {
  expect(afterLease('failed', FRESH)).toEqual({ move: 'fail', attempts: 1, backsOff: false })
})

describe.each(['retry', 'expired', 'cancelled'] as const)('a lease that ends by %s', (end) => {
  test('uses up an attempt, and the last one kills the job', () => {
    expect(afterLease(end, FRESH)).toEqual({ move: 'release', attempts: 1, backsOff: true })
    expect(afterLease(end, LAST)).toEqual({ move: 'exhaust', attempts: 3, backsOff: false })
  })
  test('starts the count anew where it came further, and the next one waits all the same', () => {
    expect(afterLease(end, { ...LAST, hasAdvanced: true })).toEqual({ move: 'release', attempts: 0, backsOff: true })
  })
  test('pauses the job where that was asked for', () => {
    expect(afterLease(end, { ...FRESH, isPauseRequested: true })).toEqual({
      move: 'pause',
      attempts: 1,
      backsOff: false,
    })
    expect(afterLease(end, { ...LAST, isPauseRequested: true }).move).toBe('exhaust')
  })
})

describe.each(['handed_back', 'paused'] as const)('a lease that ends by %s', (end) => {
  test('uses up no attempt, not even the last', () => {
    expect(afterLease(end, FRESH)).toEqual({ move: 'release', attempts: 0, backsOff: false })
    expect(afterLease(end, LAST)).toEqual({ move: 'release', attempts: 2, backsOff: false })
    expect(afterLease(end, { ...LAST, isPauseRequested: true })).toEqual({
      move: 'pause',
      attempts: 2,
      backsOff: false,
    })
  })
})

// What the edge answers is told to the broker once a second, all of it, whoever goes away meanwhile.

import { expect, test } from 'vitest'
import type { UsageCounts } from '../../src/jobs/ports.ts'
import { createUsageMeter } from '../../src/services/usage-meter.ts'

const ONE: UsageCounts = { requests: 1, tokens: 7, images: 0 }

function newMeter({ fails = false } = {}) {
  const told: [string, UsageCounts][] = []
  const logged: string[] = []
  const timers: (() => void)[] = []
  const clock = { ms: 0 }
  const broker = {
    countUsage: (project: string, counts: UsageCounts) => {
      if (fails) return Promise.reject(new Error('away'))
      told.push([project, counts])
      return Promise.resolve()
    },
  }
  const meter = createUsageMeter(
    { broker, log: (line) => logged.push(line), nowMs: () => clock.ms },
    () => new Promise((ring) => timers.push(ring)),
  )
  const ring = (): void => {
    for (const timer of timers.splice(0)) timer()
  }
  return { meter, told, logged, timers, clock, ring }
}

test('requests of a second are told together, each project by itself', async () => {
  const { meter, told, ring } = newMeter()
  const first = meter.count('a', ONE)
  await meter.count('a', ONE)
  await meter.count('b', { requests: 1, tokens: 0, images: 2 })
  expect(told).toEqual([])
  ring()
  await first
  expect(told).toEqual([
    ['a', { requests: 2, tokens: 14, images: 0 }],
    ['b', { requests: 1, tokens: 0, images: 2 }],
  ])
})

test('what a cancelled request had promised to tell is told by a later one', async () => {
  const { meter, told, timers, clock, ring } = newMeter()
  void meter.count('a', ONE)
  // Its timer never rings.
  timers.length = 0
  clock.ms = 10_000
  const later = meter.count('a', ONE)
  ring()
  await later
  expect(told).toEqual([['a', { requests: 2, tokens: 14, images: 0 }]])
})

test('counts that the broker does not take are told to the log', async () => {
  const { meter, logged, ring } = newMeter({ fails: true })
  const counted = meter.count('a', ONE)
  ring()
  await counted
  expect(logged.map((line) => JSON.parse(line))).toEqual([
    { event: 'usage_lost', project: 'a', requests: 1, tokens: 7, images: 0, why: 'away' },
  ])
})

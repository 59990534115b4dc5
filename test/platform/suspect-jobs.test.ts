// Jobs whose worker vanished with them: perhaps they are what ended it, so they run alone.

import { afterAll, beforeAll, expect, test } from 'vitest'
import type { JobBroker } from '../../src/jobs/ports.ts'
import { complete, lease, leaseOne, newJob, PROJECT, queueJob, startBroker, type TestBroker } from './broker-fixture.ts'

let running: TestBroker
let broker: JobBroker

beforeAll(async () => {
  running = await startBroker()
  broker = running.broker
})
afterAll(() => running.stop())

test('a job that kills its worker each time is dead alone, and the fifteen that were leased with it succeed', async () => {
  const match = { kinds: ['multimodal.match' as const], maxJobs: 16 }
  const jobs = await Promise.all(Array.from({ length: 16 }, () => queueJob(broker, newJob('multimodal.match'))))
  const poison = jobs[7]
  const open = new Set(jobs)
  const deaths: number[] = []
  for (let round = 0; open.size > 0 && round < 100; round += 1) {
    // As the worker's interactive lane does: it asks for more while it holds some.
    const first = await lease(broker, 'a', match)
    const held = [...first, ...(await lease(broker, 'a', match))]
    if (held.some(({ job }) => job === poison)) {
      deaths.push(held.length)
      // Past the end of the leases; then past the pause before the next attempt.
      await running.advance(30_001)
      await running.advance(60_000)
    } else {
      if (held.length === 0) await running.advance(60_000)
      for (const one of held) await complete(broker, 'a', one)
    }
    for (const id of open) if ((await broker.get(PROJECT, id)).endedAtMs !== null) open.delete(id)
  }
  expect(deaths).toEqual([16, 1, 1])
  const states = await Promise.all(jobs.map(async (id) => (await broker.get(PROJECT, id)).state))
  expect(states).toEqual(jobs.map((id) => (id === poison ? 'dead' : 'succeeded')))
})

test('a worker that waits while it holds a suspect gets the next job soon after that has ended', async () => {
  const match = { kinds: ['multimodal.match' as const], maxJobs: 16 }
  const suspect = await queueJob(broker, newJob('multimodal.match'))
  await lease(broker, 'a', match)
  await running.advance(30_001)
  await running.advance(60_000)
  const held = await leaseOne(broker, 'a', match)
  expect(held.job).toBe(suspect)
  const next = await queueJob(broker, newJob('multimodal.match'))
  const waiting = lease(broker, 'a', { ...match, waitMs: 20_000 })
  await complete(broker, 'a', held)
  const before = Date.now()
  const [then] = await waiting
  expect(then?.job).toBe(next)
  expect(Date.now() - before).toBeLessThan(5_000)
  await complete(broker, 'a', then!)
})

// The short form of `npm run test:chaos`.

import { afterAll, beforeAll, expect, test } from 'vitest'
import { runChaos } from './run-chaos.ts'
import { startChaosService } from './service.ts'

let service: Awaited<ReturnType<typeof startChaosService>>

beforeAll(async () => {
  service = await startChaosService()
})
afterAll(() => service.stop())

test('60 mixed jobs over 2 workers, killed at random, with the gateway killed once: each ends exactly once', async () => {
  const tally = await runChaos(service, {
    jobs: 60,
    workers: 2,
    seed: 1,
    limitMs: 150_000,
    killEveryMs: [2_000, 5_000],
    restarts: 1,
  })
  expect(tally).toMatchObject({ jobs: 60, terminal: 60, lost: 0, double: 0, wrong: [] })
  expect(tally.kills).toBeGreaterThan(0)
}, 180_000)

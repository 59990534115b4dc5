// A checkpoint is read before it counts, which takes as long as storage does; leases are kept meanwhile, in a real broker.

import { createHash } from 'node:crypto'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { ObjectStore } from '../../src/jobs/ports.ts'
import type { Checkpoint, Lease } from '../../src/jobs/worker-protocol.ts'
import { beat, failJob } from '../../src/services/worker-desk.ts'
import {
  leaseOne,
  newJob,
  PROJECT,
  queueJob,
  startBroker,
  TOKEN,
  workerToken,
  type TestBroker,
} from './broker-fixture.ts'

const STATE = 'state'
const FACTS = { bytes: STATE.length, sha256: createHash('sha256').update(STATE).digest('hex') }
const CHECKPOINT: Checkpoint = { step: 3, objects: [{ name: 'checkpoint/3', ...FACTS }], metrics: {} }
const PAGE = { after: undefined, limit: 10, order: 'asc' as const }

let running: TestBroker
beforeAll(async () => {
  running = await startBroker()
})
afterAll(() => running.stop())

/** A bucket that holds what is asked for, and takes the time that it is told to. */
function slowBucket(take: () => Promise<void>): { objects: ObjectStore; reads: () => number } {
  let reads = 0
  const never = (): never => {
    throw new Error('nothing but digests is asked for')
  }
  const digest = async () => {
    reads += 1
    await take()
    return FACTS
  }
  return { objects: { digest, put: never, putUnsized: never, get: never, delete: never }, reads: () => reads }
}

function tell(objects: ObjectStore, { job, fence }: Lease, sequence: number) {
  const jobs = [{ job, fence, sequence, gpu_seconds: 1, checkpoint: CHECKPOINT }]
  const deps = { broker: running.broker, objects, log: () => undefined }
  return beat(deps, workerToken(TOKEN), { worker: 'a', lease_ms: 30_000, jobs })
}

test('a heartbeat extends the lease before its checkpoint is read, and reads one that is kept no second time', async () => {
  const { broker } = running
  const id = await queueJob(broker, newJob('fine_tuning'))
  const held = await leaseOne(broker, 'a', { kinds: ['fine_tuning'] })
  await running.advance(25_000)
  // Reading ends after the lease would have without this heartbeat.
  const { objects, reads } = slowBucket(() => running.advance(20_000))
  expect((await tell(objects, held, 1)).jobs).toMatchObject([{ job: id, is_held: true }])
  expect(await broker.get(PROJECT, id)).toMatchObject({ state: 'running' })
  expect((await broker.listCheckpoints(PROJECT, id, PAGE)).data).toMatchObject([{ step: 3, fence: held.fence }])
  // The worker did not hear the answer, and says it again; then it says it with its end.
  await tell(objects, held, 1)
  const end = { worker: 'a', job: id, fence: held.fence, outcome: 'handed_back' as const, error: null, gpu_seconds: 2 }
  await failJob({ broker, objects, log: () => undefined }, workerToken(TOKEN), { ...end, checkpoint: CHECKPOINT })
  expect(reads()).toBe(1)
  const again = await leaseOne(broker, 'a', { kinds: ['fine_tuning'] })
  expect(again).toMatchObject({ job: id, resume: { step: 3 } })

  // One that is read for longer than the lease lasts is not kept: another worker may hold the job by then.
  const slower = slowBucket(() => running.advance(31_000))
  const later = { ...CHECKPOINT, step: 4 }
  const jobs = [{ job: id, fence: again.fence, sequence: 1, gpu_seconds: 1, checkpoint: later }]
  const deps = { broker, objects: slower.objects, log: () => undefined }
  await beat(deps, workerToken(TOKEN), { worker: 'a', lease_ms: 30_000, jobs })
  expect((await broker.listCheckpoints(PROJECT, id, PAGE)).data).toHaveLength(1)
})

// What outlives a killed process, a lost Queue, an older release and a clock that jumps.

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import type { JobBroker } from '../../src/jobs/ports.ts'
import {
  beat,
  codeOf,
  complete,
  lease,
  leaseOne,
  newJob,
  PROJECT,
  queueJob,
  startBroker,
  type TestBroker,
} from './broker-fixture.ts'

const OLD_DATABASE = readFileSync(join(import.meta.dirname, 'fixtures/broker-v1.sql'), 'utf8')
const OPTIONS = { idempotencyKey: null, gpuSecondsBudget: null }

let running: TestBroker
let broker: JobBroker

beforeEach(async () => {
  running = await startBroker({ JOB_RESEND_SECONDS: '20' })
  broker = running.broker
})
afterEach(() => running.stop())

test('a killed broker comes back with every job, lease, worker and token as they were', async () => {
  const waiting = await queueJob(broker)
  const job = newJob('batch')
  await broker.submit(job, OPTIONS)
  const held = await leaseOne(broker, 'a')
  await beat(broker, 'a', held, { gpu_seconds: 3, progress: { done: 1, total: 2, unit: 'rows', eta_seconds: 5 } })
  await running.killAndRestart()
  expect(await broker.get(PROJECT, waiting)).toMatchObject({
    state: 'running',
    progress: { done: 1 },
    usage: { gpuSeconds: 3 },
  })
  expect(await broker.get(PROJECT, job.id)).toMatchObject({ state: 'stored' })
  expect(await broker.listWorkers()).toMatchObject([{ id: 'a', isConnected: true, jobs: [waiting] }])
  expect(await beat(broker, 'a', held, { sequence: 2, gpu_seconds: 4 })).toMatchObject({ is_held: true })
  expect(await complete(broker, 'a', held)).toEqual({ isFirst: true })
  await running.killAndRestart()
  expect(await complete(broker, 'a', held)).toEqual({ isFirst: false })
})

test('a lease that runs out while the broker is down ends when it is back, by its alarm alone', async () => {
  const id = await queueJob(broker)
  await leaseOne(broker, 'a', { leaseMs: 1_000 })
  await running.killAndRestart()
  // Nothing but this question is asked: it must not be what ends the lease.
  const { events } = await broker.eventsAfter(PROJECT, id, 3, { limit: 10, waitMs: 20_000 })
  expect(events).toMatchObject([{ data: { type: 'state', state: 'queued' } }])
  expect(await broker.get(PROJECT, id)).toMatchObject({ error: { code: 'lease_expired' } })
})

test('a job whose Queue message was lost is sent again until it comes, and no other is', async () => {
  const lost = newJob()
  await broker.submit(lost, OPTIONS)
  await queueJob(broker)
  await running.advance(19_000)
  expect(await running.delivered()).toEqual([])
  await running.advance(1_001)
  await expect.poll(() => running.delivered()).toEqual([lost.id])
  await running.killAndRestart()
  await running.advance(41_000)
  await expect.poll(() => running.delivered()).toEqual([lost.id, lost.id])
  await broker.markQueued([lost.id])
  await running.advance(60_000)
  expect(await running.delivered()).toHaveLength(2)
  expect(await broker.get(PROJECT, lost.id)).toMatchObject({ state: 'queued' })
})

test('a database of the first release is migrated, and the jobs in flight in it go on', async () => {
  // Older brokers kept a checkpoint as often as it was told.
  const twins = `INSERT INTO checkpoints (id, job, fence, step, objects, metrics, created_ms)
    SELECT id || 'b', job, fence, step, objects, metrics, created_ms FROM checkpoints;`
  await running.restartWith(OLD_DATABASE + twins)
  expect(await running.rows('SELECT job FROM checkpoints GROUP BY job, fence, step HAVING count(*) > 1')).toEqual([])
  const [{ version } = {}] = await running.rows('SELECT version FROM schema_version')
  expect(version).toBe(6)
  const [stored, queued] = ['batch_00000000000000000000a001', 'batch_00000000000000000000a002']
  const [training, done] = ['ftjob-00000000000000000000a003', 'job_00000000000000000000a004']
  expect(await broker.get(PROJECT, done)).toMatchObject({ state: 'succeeded', result: { scores: [0.5] } })
  await broker.markQueued([stored])
  for (const id of [stored, queued]) {
    const held = await leaseOne(broker, 'new-worker')
    expect(held.job).toBe(id)
    await complete(broker, 'new-worker', held)
  }
  // The worker that had the lease before the release goes on with it.
  const held = { job: training, fence: 3 }
  expect(await beat(broker, 'old-worker', held, { sequence: 10, gpu_seconds: 50 })).toMatchObject({ is_held: true })
  expect(await broker.get(PROJECT, training)).toMatchObject({ usage: { gpuSeconds: 110 }, attempt: 2 })
  expect(await codeOf(broker.deleteFile(PROJECT, 'file-00000000000000000000a005'))).toBe('file_in_use')
  await running.advance(30_001)
  await running.advance(60_000)
  const again = await leaseOne(broker, 'new-worker', { kinds: ['fine_tuning'] })
  expect(again).toMatchObject({ job: training, fence: 4, attempt: 3, resume: { step: 4 } })
  // What the newer schema brought works on what the older one left.
  await broker.createWebhookEndpoint(
    { id: 'we_1', project: PROJECT, url: 'http://127.0.0.1:9/', events: [], createdAtMs: 0, disabledAtMs: null },
    'whsec_AAAA',
  )
  await complete(broker, 'new-worker', again)
  expect(await broker.get(PROJECT, training)).toMatchObject({ state: 'succeeded' })
  expect(await running.rows('SELECT endpoint FROM webhook_outbox')).toEqual([{ endpoint: 'we_1' }])
})

test('a database of a later release is left alone', async () => {
  await running.restartWith('CREATE TABLE schema_version (version INTEGER); INSERT INTO schema_version VALUES (999)')
  await expect(broker.metrics()).rejects.toThrow('did not answer')
})

test('a clock that falls back by minutes gives no job to two workers, and a heartbeat sets the lease anew', async () => {
  await running.advance(300_000)
  const id = await queueJob(broker)
  const held = await leaseOne(broker, 'a')
  // The moved clock is forgotten with the process, so it is five minutes earlier now.
  await running.killAndRestart()
  expect(await lease(broker, 'b')).toEqual([])
  expect(await beat(broker, 'a', held)).toMatchObject({ is_held: true })
  await running.advance(30_001)
  expect(await broker.get(PROJECT, id)).toMatchObject({ state: 'queued', attempt: 1 })
  expect(await beat(broker, 'a', held, { sequence: 2 })).toMatchObject({ is_held: false })
})

test('a worker that dies while the clock falls back loses its job after the length of its lease', async () => {
  await running.advance(300_000)
  const id = await queueJob(broker)
  await leaseOne(broker, 'a')
  await running.killAndRestart()
  expect(await lease(broker, 'b')).toEqual([])
  await running.advance(30_001)
  expect(await broker.get(PROJECT, id)).toMatchObject({ state: 'queued', error: { code: 'lease_expired' } })
})

test('a clock that falls back in a running broker makes no lease longer', async () => {
  const id = await queueJob(broker)
  await leaseOne(broker, 'a')
  await running.advance(-300_000)
  await running.advance(30_001)
  expect(await broker.get(PROJECT, id)).toMatchObject({ state: 'queued', error: { code: 'lease_expired' } })
})

test('a clock that leaps ahead takes leases away, and what comes late is refused rather than lost twice', async () => {
  const id = await queueJob(broker)
  const held = await leaseOne(broker, 'a')
  await running.advance(600_000)
  expect(await codeOf(complete(broker, 'a', held))).toBe('stale_lease')
  await running.advance(60_000)
  const again = await leaseOne(broker, 'a')
  expect(again).toMatchObject({ job: id, fence: 2 })
  expect(await complete(broker, 'a', again)).toEqual({ isFirst: true })
})

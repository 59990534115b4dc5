// What owners do to their jobs, and what others may learn of them.

import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { RemoteError } from '../../src/errors.ts'
import type { JobBroker } from '../../src/jobs/ports.ts'
import type { JobState } from '../../src/jobs/states.ts'
import {
  beat,
  codeOf,
  complete,
  fail,
  lease,
  leaseOne,
  newJob,
  PROJECT,
  queueJob,
  startBroker,
  TOKEN,
  type TestBroker,
} from './broker-fixture.ts'

let running: TestBroker
let broker: JobBroker

beforeAll(async () => {
  running = await startBroker()
  broker = running.broker
})
afterAll(() => running.stop())

const OPTIONS = { idempotencyKey: null, gpuSecondsBudget: null }

/** A job that was brought into a state the way jobs get there. */
async function jobIn(state: JobState): Promise<string> {
  const deadlineMs = state === 'expired' ? (await running.clock()) + 60_000 : null
  const job = newJob('batch', { deadlineMs })
  await broker.submit(job, OPTIONS)
  if (state === 'stored') return job.id
  if (state === 'expired') {
    await running.advance(60_001)
    return job.id
  }
  await broker.markQueued([job.id])
  if (state === 'queued') return job.id
  if (state === 'paused') await broker.pause(PROJECT, job.id)
  if (state === 'cancelled') await broker.cancel(PROJECT, job.id)
  if (state === 'paused' || state === 'cancelled') return job.id
  const held = await leaseOne(broker, 'a')
  if (state === 'succeeded') await complete(broker, 'a', held)
  if (state === 'failed') await fail(broker, 'a', held, { outcome: 'failed' })
  if (state === 'dead') {
    await running.rows(`UPDATE jobs SET attempt = max_attempts WHERE id = '${job.id}'`)
    await fail(broker, 'a', held)
  }
  return job.id
}

const STATES: JobState[] = [
  'stored',
  'queued',
  'running',
  'paused',
  'succeeded',
  'failed',
  'dead',
  'cancelled',
  'expired',
]

/** Per state: what cancel, pause, resume and retry lead to; a refusal's code where they are refused. */
const CONFLICT = 'job_state_conflict'
const EXPECTED: Record<JobState, Record<'cancel' | 'pause' | 'resume' | 'retry', string>> = {
  stored: { cancel: 'cancelled', pause: 'paused', resume: CONFLICT, retry: CONFLICT },
  queued: { cancel: 'cancelled', pause: 'paused', resume: CONFLICT, retry: CONFLICT },
  running: { cancel: 'running', pause: 'running', resume: CONFLICT, retry: CONFLICT },
  paused: { cancel: 'cancelled', pause: 'paused', resume: 'queued', retry: CONFLICT },
  succeeded: { cancel: CONFLICT, pause: CONFLICT, resume: CONFLICT, retry: CONFLICT },
  failed: { cancel: CONFLICT, pause: CONFLICT, resume: CONFLICT, retry: 'queued' },
  dead: { cancel: CONFLICT, pause: CONFLICT, resume: CONFLICT, retry: 'queued' },
  cancelled: { cancel: CONFLICT, pause: CONFLICT, resume: CONFLICT, retry: 'queued' },
  expired: { cancel: CONFLICT, pause: CONFLICT, resume: CONFLICT, retry: 'queued' },
}

describe.each(STATES)('a job that is %s', (state) => {
  test.each(['cancel', 'pause', 'resume', 'retry'] as const)('answers %s as the table says', async (move) => {
    const id = await jobIn(state)
    expect(await broker.get(PROJECT, id)).toMatchObject({ state })
    const moved = move === 'retry' ? broker.retry(PROJECT, id, OPTIONS) : broker[move](PROJECT, id)
    const outcome = await moved.then(
      (job) => job.state,
      (error: unknown) => (error instanceof RemoteError ? error.code : error),
    )
    expect(outcome).toBe(EXPECTED[state][move])
    expect((await broker.get(PROJECT, id)).state).toBe(outcome === CONFLICT ? state : outcome)
    // Nothing is left behind for the next test to lease.
    await running.rows(`UPDATE jobs SET state = 'cancelled', ended_ms = 1 WHERE id = '${id}' AND ended_ms IS NULL`)
  })
})

test('what refuses to be tried again says that it is final', async () => {
  const id = await jobIn('succeeded')
  await expect(broker.cancel(PROJECT, id)).rejects.toMatchObject({ status: 409, isFinal: true })
})

describe('a running job', () => {
  test('hears with its heartbeat that it is to be cancelled, and ends as cancelled whatever its worker says', async () => {
    for (const outcome of ['cancelled', 'retry', 'failed', 'handed_back', 'paused'] as const) {
      const id = await queueJob(broker)
      const held = await leaseOne(broker, 'a')
      expect(await beat(broker, 'a', held)).toMatchObject({ should_cancel: false })
      expect(await broker.cancel(PROJECT, id)).toMatchObject({ state: 'running', isCancelRequested: true })
      expect(await broker.cancel(PROJECT, id)).toMatchObject({ isCancelRequested: true })
      expect(await beat(broker, 'a', held, { sequence: 2 })).toMatchObject({ is_held: true, should_cancel: true })
      expect(await fail(broker, 'a', held, { outcome })).toEqual({ state: 'cancelled' })
    }
  })

  test('whose worker vanishes after it was cancelled ends as cancelled, without an error', async () => {
    const id = await queueJob(broker)
    await leaseOne(broker, 'a')
    await broker.cancel(PROJECT, id)
    await running.advance(30_001)
    expect(await broker.get(PROJECT, id)).toMatchObject({ state: 'cancelled', error: null })
  })

  test('that was ready before the cancel reached its worker keeps its result', async () => {
    const id = await queueJob(broker)
    const held = await leaseOne(broker, 'a')
    await broker.cancel(PROJECT, id)
    expect(await complete(broker, 'a', held)).toEqual({ isFirst: true })
    expect(await broker.get(PROJECT, id)).toMatchObject({ state: 'succeeded' })
  })

  test('is paused with its checkpoint and goes on from it', async () => {
    const id = await queueJob(broker, newJob('fine_tuning'))
    const held = await leaseOne(broker, 'a', { kinds: ['fine_tuning'] })
    await broker.pause(PROJECT, id)
    expect(await beat(broker, 'a', held)).toMatchObject({ should_pause: true })
    const checkpoint = { step: 7, objects: [{ name: 'state', bytes: 3, sha256: 'c'.repeat(64) }], metrics: { loss: 1 } }
    expect(await fail(broker, 'a', held, { outcome: 'paused', error: null, checkpoint })).toEqual({ state: 'paused' })
    await running.advance(3_600_000)
    expect(await lease(broker, 'a', { kinds: ['fine_tuning'] })).toEqual([])
    expect(await broker.resume(PROJECT, id)).toMatchObject({ state: 'queued', isPauseRequested: false })
    const again = await leaseOne(broker, 'b', { kinds: ['fine_tuning'] })
    expect(again).toMatchObject({ job: id, attempt: 1, fence: 2, resume: checkpoint })
    const holder = { worker: 'b', tokenId: TOKEN, job: id, fence: 2 }
    expect((await broker.heldObjects(holder)).reads).toEqual([
      { name: 'state', bytes: 3, sha256: 'c'.repeat(64), key: `jobs/${id}/1/state` },
    ])
    await complete(broker, 'b', again)
  })

  test('whose owner changes their mind before the worker has paused runs on', async () => {
    const id = await queueJob(broker)
    const held = await leaseOne(broker, 'a')
    await broker.pause(PROJECT, id)
    await broker.resume(PROJECT, id)
    expect(await beat(broker, 'a', held)).toMatchObject({ should_pause: false })
    await broker.pause(PROJECT, id)
    await running.advance(30_001)
    expect(await broker.get(PROJECT, id)).toMatchObject({ state: 'paused', attempt: 1 })
    await broker.cancel(PROJECT, id)
  })
})

function checkpointAt(step: number) {
  return { step, objects: [{ name: `checkpoint/${step}`, bytes: 3, sha256: 'c'.repeat(64) }], metrics: {} }
}

async function resumableSteps(job: string): Promise<unknown[]> {
  const rows = await running.rows(
    `SELECT step FROM checkpoints WHERE job = '${job}' AND is_resumable = 1 ORDER BY ordinal`,
  )
  return rows.map(({ step }) => step)
}

test('a checkpoint that is told by heartbeat and again with the end of the lease is kept once, beside another step', async () => {
  const id = await queueJob(broker)
  const first = await leaseOne(broker, 'a')
  for (const step of [10, 20]) await beat(broker, 'a', first, { sequence: step, checkpoint: checkpointAt(step) })
  await fail(broker, 'a', first, { outcome: 'handed_back', error: null, checkpoint: checkpointAt(20) })
  const page = { after: undefined, limit: 10, order: 'asc' as const }
  expect((await broker.listCheckpoints(PROJECT, id, page)).data.map(({ step }) => step)).toEqual([10, 20])
  expect(await resumableSteps(id)).toEqual([10, 20])
  // The next lease comes no further than the step that it began with, and leaves it again.
  const second = await leaseOne(broker, 'a')
  await fail(broker, 'a', second, { outcome: 'handed_back', error: null, checkpoint: checkpointAt(20) })
  expect(await resumableSteps(id)).toEqual([10, 20])
  const third = await leaseOne(broker, 'a')
  expect(third.resume).toEqual(checkpointAt(20))
  const { reads } = await broker.heldObjects({ worker: 'a', tokenId: TOKEN, job: id, fence: third.fence })
  expect(reads.map(({ key }) => key)).toEqual([`jobs/${id}/2/checkpoint/20`])
  await complete(broker, 'a', third)
})

test('after a damaged checkpoint the next lease goes on from the one before, and from the beginning when there is none', async () => {
  const damaged = { code: 'checkpoint_unreadable', message: 'damaged', param: null, line: null }
  const id = await queueJob(broker)
  const first = await leaseOne(broker, 'a')
  for (const step of [10, 20]) await beat(broker, 'a', first, { sequence: step, checkpoint: checkpointAt(step) })
  await fail(broker, 'a', first, { outcome: 'handed_back', error: null })
  for (const step of [20, 10]) {
    const held = await leaseOne(broker, 'a')
    expect(held.resume).toEqual(checkpointAt(step))
    await fail(broker, 'a', held, { error: damaged })
    await running.advance(300_000)
  }
  const afresh = await leaseOne(broker, 'a')
  expect(afresh.resume).toBeNull()
  // What this lease itself leaves is not what was damaged.
  await beat(broker, 'a', afresh, { checkpoint: checkpointAt(5) })
  await fail(broker, 'a', afresh, { error: damaged })
  expect(await resumableSteps(id)).toEqual([5])
  await broker.cancel(PROJECT, id)
})

test('a checkpoint is resumed from after a crash; of older ones the metrics stay and the objects go', async () => {
  const id = await queueJob(broker, newJob('fine_tuning'))
  const held = await leaseOne(broker, 'a', { kinds: ['fine_tuning'] })
  for (const step of [1, 2, 3]) {
    const objects = [{ name: `step-${step}`, bytes: 1, sha256: 'd'.repeat(64) }]
    await beat(broker, 'a', held, { sequence: step, checkpoint: { step, objects, metrics: { loss: 1 / step } } })
  }
  const trashed = await running.rows(`SELECT key FROM trash WHERE key LIKE 'jobs/${id}/%'`)
  expect(trashed).toEqual([{ key: `jobs/${id}/1/step-1` }])
  await running.advance(30_001)
  await running.advance(10_000)
  const again = await leaseOne(broker, 'b', { kinds: ['fine_tuning'] })
  expect(again.resume).toMatchObject({ step: 3 })
  const { data } = await broker.listCheckpoints(PROJECT, id, { after: undefined, limit: 2, order: 'desc' })
  expect(data.map(({ step }) => step)).toEqual([3, 2])
  const rest = await broker.listCheckpoints(PROJECT, id, { after: data[1]?.id, limit: 2, order: 'desc' })
  expect(rest).toMatchObject({ data: [{ step: 1, metrics: { loss: 1 } }], hasMore: false })
  await complete(broker, 'b', again)
  const left = await running.rows(`SELECT key FROM trash WHERE key LIKE 'jobs/${id}/%' ORDER BY key`)
  expect(left.map(({ key }) => key)).toContain(`jobs/${id}/1/`)
})

test('another project’s job looks like none at all, to every method', async () => {
  const id = await jobIn('queued')
  const page = { after: undefined, limit: 10, order: 'desc' as const }
  const calls = [
    broker.get('rival', id),
    broker.cancel('rival', id),
    broker.pause('rival', id),
    broker.resume('rival', id),
    broker.retry('rival', id, OPTIONS),
    broker.waitForEnd('rival', id, 0),
    broker.eventsAfter('rival', id, 0, { limit: 1, waitMs: 0 }),
    broker.listEvents('rival', id, page),
    broker.listCheckpoints('rival', id, page),
  ]
  const codes = await Promise.all(calls.map(codeOf))
  expect(codes).toEqual(calls.map(() => 'not_found'))
  expect(await broker.list('rival', { kinds: undefined, ...page })).toEqual({ data: [], hasMore: false })
  expect(await codeOf(broker.list('rival', { kinds: undefined, ...page, after: id }))).toBe('invalid_input')
  await broker.cancel(PROJECT, id)
})

test('lists go page by page in both directions and by kind', async () => {
  const project = 'lister'
  const ids: string[] = []
  for (let index = 0; index < 5; index += 1) {
    const job = newJob(index === 2 ? 'fine_tuning' : 'batch', { project })
    await broker.submit(job, OPTIONS)
    ids.push(job.id)
  }
  const list = (more: object) =>
    broker.list(project, { kinds: undefined, after: undefined, limit: 2, order: 'asc', ...more })
  const first = await list({})
  expect(first).toMatchObject({ data: [{ id: ids[0] }, { id: ids[1] }], hasMore: true })
  expect(await list({ after: ids[3] })).toMatchObject({ data: [{ id: ids[4] }], hasMore: false })
  expect(await list({ order: 'desc' })).toMatchObject({ data: [{ id: ids[4] }, { id: ids[3] }], hasMore: true })
  expect(await list({ kinds: ['fine_tuning'] })).toMatchObject({ data: [{ id: ids[2] }], hasMore: false })
  // Counted for one job at a time.
  expect(first.data.map(({ queuePosition }) => queuePosition)).toEqual([null, null])
  const places = await Promise.all(ids.slice(0, 2).map(async (id) => (await broker.get(project, id)).queuePosition))
  expect(places).toEqual([0, 1])
})

test('who waits for a job’s end, or for its events, is told at once', async () => {
  const id = await queueJob(broker)
  const end = broker.waitForEnd(PROJECT, id, 25_000)
  const { events } = await broker.eventsAfter(PROJECT, id, 0, { limit: 10, waitMs: 25_000 })
  expect(events).toHaveLength(2)
  const more = broker.eventsAfter(PROJECT, id, 2, { limit: 10, waitMs: 25_000 })
  const held = await leaseOne(broker, 'a')
  expect(await more).toMatchObject({ events: [{ data: { state: 'running' } }], isOver: false })
  await complete(broker, 'a', held)
  expect(await end).toMatchObject({ state: 'succeeded', result: { by: 'a' } })
  expect(await broker.eventsAfter(PROJECT, id, 3, { limit: 10, waitMs: 25_000 })).toMatchObject({ isOver: true })
})

test('a job that its deadline or its owner ended can be tried again, with all attempts and a new deadline', async () => {
  const id = await jobIn('expired')
  const before = await broker.get(PROJECT, id)
  const after = await broker.retry(PROJECT, id, OPTIONS)
  expect(after).toMatchObject({ state: 'queued', attempt: 0, error: null, endedAtMs: null })
  expect(after.deadlineMs).toBeGreaterThan(before.deadlineMs ?? Infinity)
  await running.advance(60_001)
  const now = await running.clock()
  const { deadlineMs } = await broker.retry(PROJECT, id, OPTIONS)
  expect(Math.abs((deadlineMs ?? 0) - now - 60_000)).toBeLessThan(10_000)
  await broker.cancel(PROJECT, id)
})

test('a place in a long queue is counted up to 1,000, whatever lies ahead', async () => {
  const ahead = `WITH RECURSIVE counted (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM counted WHERE n < 1200)
    INSERT INTO jobs (id, project, kind, state, priority, model, model_id, need, objects, request, min_memory_mib,
      max_runtime_ms, max_attempts, created_ms, ready_ms)
    SELECT 'ahead-' || n, 'crowd', 'batch', 'queued', 1, '{}', '', '', '[]', '{}', 1, 1, 1, 1, 1 FROM counted`
  await running.rows(ahead)
  const last = newJob('fine_tuning')
  expect(await broker.submit(last, OPTIONS)).toMatchObject({ queuePosition: 1000 })
  await running.rows(`DELETE FROM jobs WHERE project = 'crowd'`)
})

test('a retry is refused when the GPU budget is used up, and the job stays as it had ended', async () => {
  const project = 'thrifty'
  const id = await queueJob(broker, newJob('batch', { project }))
  await fail(broker, 'a', await leaseOne(broker, 'a'), { outcome: 'failed', gpu_seconds: 50 })
  expect(await codeOf(broker.retry(project, id, { gpuSecondsBudget: 50 }))).toBe('gpu_budget_exceeded')
  expect(await broker.get(project, id)).toMatchObject({ state: 'failed' })
  expect(await broker.retry(project, id, { gpuSecondsBudget: 51 })).toMatchObject({ state: 'queued' })
  await broker.cancel(project, id)
})

// Leases in a real SQLite Durable Object: one at a time, renewed or lost, and nothing that comes too late counts.

import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import {
  beat,
  codeOf,
  complete,
  fail,
  lease,
  leaseOne,
  MODEL,
  newJob,
  PROJECT,
  queueJob,
  startBroker,
  TOKEN,
  workerToken,
  type TestBroker,
} from './broker-fixture.ts'
import type { JobBroker } from '../../src/jobs/ports.ts'

let running: TestBroker
let broker: JobBroker

beforeAll(async () => {
  running = await startBroker()
  broker = running.broker
})
afterAll(() => running.stop())

test('a job is stored until its Queue message comes, and a message that comes twice changes nothing', async () => {
  const job = newJob()
  expect(await broker.submit(job, { idempotencyKey: null, gpuSecondsBudget: null })).toMatchObject({ state: 'stored' })
  expect(await lease(broker, 'a')).toEqual([])
  await broker.markQueued([job.id, job.id, 'batch_ffffffffffffffffffffffff'])
  const first = await leaseOne(broker, 'a')
  expect(first).toMatchObject({ job: job.id, fence: 1, attempt: 1, input: { inline: {} } })
  await broker.markQueued([job.id])
  expect(await lease(broker, 'b')).toEqual([])
  await complete(broker, 'a', first)
  await broker.markQueued([job.id])
  expect(await lease(broker, 'b')).toEqual([])
  const { data } = await broker.listEvents(PROJECT, job.id, { after: undefined, limit: 10, order: 'asc' })
  expect(data.map((event) => event.data)).toMatchObject([
    { state: 'stored' },
    { state: 'queued' },
    { state: 'running' },
    { state: 'succeeded' },
  ])
})

test('an interactive job can be leased from its submission on', async () => {
  const job = newJob('multimodal.match')
  await broker.submit(job, { idempotencyKey: null, gpuSecondsBudget: null })
  const held = await leaseOne(broker, 'a', { kinds: ['multimodal.match'] })
  expect(held.job).toBe(job.id)
  await complete(broker, 'a', held)
})

test('fifty workers that ask at once share twenty jobs, each given out once', async () => {
  const ids = await Promise.all(Array.from({ length: 20 }, () => queueJob(broker)))
  const answers = await Promise.all(Array.from({ length: 50 }, (_, index) => lease(broker, `racer-${index}`)))
  const leased = answers.flat()
  expect(leased.map(({ job }) => job).toSorted()).toEqual(ids.toSorted())
  expect(answers.every((answer) => answer.length <= 1)).toBe(true)
  for (const [index, [held]] of answers.entries()) {
    if (held !== undefined) await complete(broker, `racer-${index}`, held)
  }
})

test('a lease that is not renewed is given to another worker, and every late write of the first is refused', async () => {
  const id = await queueJob(broker)
  const stale = await leaseOne(broker, 'slow')
  await running.advance(30_001)
  expect(await broker.get(PROJECT, id)).toMatchObject({ state: 'queued', attempt: 1, error: { code: 'lease_expired' } })
  await running.advance(10_000)
  const live = await leaseOne(broker, 'quick')
  expect(live).toMatchObject({ job: id, fence: stale.fence + 1, attempt: 2 })
  expect(await beat(broker, 'slow', stale, { gpu_seconds: 5 })).toMatchObject({ is_held: false })
  expect(await codeOf(complete(broker, 'slow', stale))).toBe('stale_lease')
  expect(await codeOf(fail(broker, 'slow', stale))).toBe('stale_lease')
  const holder = { worker: 'slow', tokenId: TOKEN, job: id, fence: stale.fence }
  expect(await codeOf(broker.heldObjects(holder))).toBe('stale_lease')
  expect(await codeOf(broker.held(holder))).toBe('stale_lease')
  expect(await beat(broker, 'quick', live)).toMatchObject({ is_held: true })
  expect(await complete(broker, 'quick', live)).toEqual({ isFirst: true })
  expect(await complete(broker, 'quick', live)).toEqual({ isFirst: false })
  expect(await codeOf(complete(broker, 'slow', stale))).toBe('stale_lease')
  expect(await broker.get(PROJECT, id)).toMatchObject({ state: 'succeeded', result: { by: 'quick' }, attempt: 2 })
})

test('a lease is bound to its worker’s name and its token', async () => {
  await queueJob(broker)
  const held = await leaseOne(broker, 'owner')
  expect(await codeOf(complete(broker, 'thief', held))).toBe('stale_lease')
  const usage = { gpu_seconds: 0, tokens: 0, images: 0 }
  const request = { worker: 'owner', job: held.job, fence: held.fence, result: {}, outputs: [], usage }
  expect(await codeOf(broker.complete(request, 'wt_of_somebody_else', [], null))).toBe('stale_lease')
  expect(await complete(broker, 'owner', held)).toEqual({ isFirst: true })
})

test('heartbeats carry a job over hours; one that arrives twice writes its events once', async () => {
  const id = await queueJob(broker, newJob('batch', { maxRuntimeSeconds: 86_400 }))
  const held = await leaseOne(broker, 'a')
  for (let sequence = 1; sequence <= 4; sequence += 1) {
    await running.advance(29_000)
    const events = [{ type: 'log' as const, level: 'info' as const, message: `step ${sequence}` }]
    for (const _ of ['first', 'again'])
      expect(await beat(broker, 'a', held, { sequence, events })).toMatchObject({ is_held: true })
  }
  await complete(broker, 'a', held)
  const { events, isOver } = await broker.eventsAfter(PROJECT, id, 0, { limit: 100, waitMs: 0 })
  expect(events.filter(({ data }) => data.type === 'log')).toHaveLength(4)
  expect(events.map(({ sequence }) => sequence)).toEqual(events.map((_, index) => index + 1))
  expect(isOver).toBe(true)
})

test('a progress line supersedes the one before it, and numbers go on', async () => {
  const id = await queueJob(broker)
  const held = await leaseOne(broker, 'a')
  const progress = (done: number) => ({ done, total: 3, unit: 'steps', eta_seconds: null })
  for (const sequence of [1, 2, 3]) await beat(broker, 'a', held, { sequence, progress: progress(sequence) })
  const { events } = await broker.eventsAfter(PROJECT, id, 0, { limit: 100, waitMs: 0 })
  expect(events.filter(({ data }) => data.type === 'progress')).toMatchObject([
    { sequence: 6, data: { progress: { done: 3 } } },
  ])
  expect(await broker.get(PROJECT, id)).toMatchObject({ progress: progress(3) })
  await complete(broker, 'a', held)
})

test('a job that fails on every attempt is dead, keeps its last error, and waits longer each time', async () => {
  const id = await queueJob(broker)
  const waits: number[] = []
  for (let attempt = 1; attempt <= 5; attempt += 1) {
    const held = await leaseOne(broker, 'a')
    expect(held.attempt).toBe(attempt)
    const { state } = await fail(broker, 'a', held, {
      error: { code: 'boom', message: `no ${attempt}`, param: null, line: null },
    })
    expect(state).toBe(attempt < 5 ? 'queued' : 'dead')
    if (attempt === 5) break
    expect(await lease(broker, 'a')).toEqual([])
    const [row] = await running.rows(`SELECT not_before_ms FROM jobs WHERE id = '${id}'`)
    waits.push(Number(row?.['not_before_ms']) - (await running.clock()))
    await running.advance(300_000)
  }
  expect(await broker.get(PROJECT, id)).toMatchObject({ state: 'dead', error: { message: 'no 5' }, attempt: 5 })
  for (const [index, ms] of waits.entries()) {
    expect(ms).toBeGreaterThan(900 * 2 ** index)
    expect(ms).toBeLessThanOrEqual(2_000 * 2 ** index)
  }
})

test('a poison job among many good ones dies alone', async () => {
  const poison = await queueJob(broker)
  const good = await Promise.all(Array.from({ length: 100 }, () => queueJob(broker)))
  let [done, rounds] = [0, 0]
  while ((done < good.length || (await broker.get(PROJECT, poison)).state !== 'dead') && rounds < 300) {
    rounds += 1
    const [held] = await lease(broker, 'a')
    if (held === undefined) await running.advance(60_000)
    else if (held.job === poison) await fail(broker, 'a', held)
    else {
      await complete(broker, 'a', held)
      done += 1
    }
  }
  expect(done).toBe(good.length)
  expect(await broker.get(PROJECT, poison)).toMatchObject({ state: 'dead', attempt: 5 })
})

test('a job that is handed back loses no attempt and is ready at once', async () => {
  const id = await queueJob(broker)
  for (let fence = 1; fence <= 7; fence += 1) {
    const held = await leaseOne(broker, 'a')
    expect(held).toMatchObject({ job: id, attempt: 1, fence })
    expect(await fail(broker, 'a', held, { outcome: 'handed_back', error: null })).toEqual({ state: 'queued' })
  }
  await complete(broker, 'a', await leaseOne(broker, 'a'))
})

test('a job that comes further in every lease outlives any number of workers; one that stands still does not', async () => {
  const id = await queueJob(broker, newJob('batch', { maxRuntimeSeconds: 86_400 }))
  const dieAt = async (step: number | null) => {
    const held = await leaseOne(broker, 'a')
    const objects = [{ name: 'state', bytes: 3, sha256: 'c'.repeat(64) }]
    if (step !== null) await beat(broker, 'a', held, { sequence: 1, checkpoint: { step, objects, metrics: {} } })
    await running.advance(120_000)
    const { state } = await broker.get(PROJECT, id)
    // Past the pause before the next attempt.
    await running.advance(300_000)
    return state
  }
  for (let step = 1; step <= 8; step += 1) expect(await dieAt(step)).toBe('queued')
  // The checkpoint that was there already is no progress.
  for (const step of [8, null, 8, null]) expect(await dieAt(step)).toBe('queued')
  expect(await dieAt(null)).toBe('dead')
})

test('a refused job has failed at the first attempt', async () => {
  const id = await queueJob(broker)
  expect(await fail(broker, 'a', await leaseOne(broker, 'a'), { outcome: 'failed' })).toEqual({ state: 'failed' })
  expect(await broker.get(PROJECT, id)).toMatchObject({ state: 'failed', error: { code: 'boom' } })
})

test('a job may not run longer than its owner allows, over all its attempts together', async () => {
  const id = await queueJob(broker, newJob('batch', { maxRuntimeSeconds: 50 }))
  const first = await leaseOne(broker, 'a')
  expect(first.max_runtime_ms).toBe(50_000)
  await running.advance(20_000)
  await fail(broker, 'a', first)
  await running.advance(10_000)
  const second = await leaseOne(broker, 'a', { leaseMs: 600_000 })
  expect(second.max_runtime_ms).toBeLessThanOrEqual(30_000)
  expect(second.max_runtime_ms).toBeGreaterThan(25_000)
  await running.advance(30_000)
  expect(await broker.get(PROJECT, id)).toMatchObject({ state: 'failed', error: { code: 'max_runtime_exceeded' } })
  expect(await codeOf(complete(broker, 'a', second))).toBe('stale_lease')
})

test.each(['stored', 'queued', 'running', 'paused'])('a deadline ends a job that is %s', async (state) => {
  const job = newJob('batch', { deadlineMs: (await running.clock()) + 5_000 })
  await broker.submit(job, { idempotencyKey: null, gpuSecondsBudget: null })
  if (state !== 'stored') await broker.markQueued([job.id])
  if (state === 'running') await leaseOne(broker, 'a')
  if (state === 'paused') await broker.pause(PROJECT, job.id)
  expect(await broker.get(PROJECT, job.id)).toMatchObject({ state })
  await running.advance(5_001)
  expect(await broker.get(PROJECT, job.id)).toMatchObject({ state: 'expired', error: { code: 'deadline_exceeded' } })
})

describe('which job a worker gets', () => {
  const ALL = { kinds: ['multimodal.match', 'batch', 'fine_tuning'] as const }

  test('interactive before batch before training, and the oldest first within each', async () => {
    const training = await queueJob(broker, newJob('fine_tuning'))
    const batch = await queueJob(broker, newJob('batch'))
    const [older, newer] = [newJob('multimodal.match'), newJob('multimodal.match')]
    await queueJob(broker, older)
    await queueJob(broker, newer)
    const order: string[] = []
    for (let turn = 0; turn < 4; turn += 1) {
      const held = await leaseOne(broker, 'a', { kinds: [...ALL.kinds] })
      order.push(held.job)
      await complete(broker, 'a', held)
    }
    expect(order).toEqual([older.id, newer.id, batch, training])
  })

  test('several interactive ones together, and one at a time of those that take long', async () => {
    const interactive = await Promise.all(Array.from({ length: 3 }, () => queueJob(broker, newJob('multimodal.match'))))
    const long = await Promise.all(Array.from({ length: 2 }, () => queueJob(broker)))
    const together = await lease(broker, 'a', { kinds: [...ALL.kinds], maxJobs: 8 })
    expect(together.map(({ job }) => job)).toEqual(interactive)
    for (const held of together) await complete(broker, 'a', held)
    for (const id of long) {
      const alone = await lease(broker, 'a', { kinds: [...ALL.kinds], maxJobs: 8 })
      expect(alone.map(({ job }) => job)).toEqual([id])
      for (const held of alone) await complete(broker, 'a', held)
    }
  })

  test('only what it has memory, model and head for', async () => {
    const large = await queueJob(broker, newJob('batch', { minMemoryMib: 40_000 }))
    const other = await queueJob(broker, newJob('batch', { model: { id: 'other', base: 'other', objects: [] } }))
    const headed = await queueJob(broker, newJob('batch', { head: 'itm' }))
    expect(await lease(broker, 'a')).toEqual([])
    expect(await broker.get(PROJECT, headed)).toMatchObject({ waitingFor: 'worker' })
    const withHead = { models: [{ id: MODEL, heads: ['itm' as const], is_loaded: false }] }
    const held = await leaseOne(broker, 'b', withHead)
    expect(held.job).toBe(headed)
    await complete(broker, 'b', held)
    const big = await leaseOne(broker, 'c', { memoryMib: 80_000 })
    expect(big.job).toBe(large)
    await complete(broker, 'c', big)
    const otherModel = await leaseOne(broker, 'd', { models: [{ id: 'other', heads: [], is_loaded: false }] })
    expect(otherModel.job).toBe(other)
    await complete(broker, 'd', otherModel)
  })

  test('one whose model is loaded before one that is a little older, but not before one that waits for long', async () => {
    const cold = { id: 'cold', base: MODEL, objects: [] }
    const old = await queueJob(broker, newJob('batch', { model: cold }))
    const warm = await queueJob(broker)
    const first = await leaseOne(broker, 'a')
    expect(first.job).toBe(warm)
    await complete(broker, 'a', first)
    await running.advance(3_000)
    const late = await queueJob(broker)
    const second = await leaseOne(broker, 'a')
    expect(second.job).toBe(old)
    await complete(broker, 'a', second)
    const third = await leaseOne(broker, 'a')
    expect(third.job).toBe(late)
    await complete(broker, 'a', third)
  })

  test('nothing that its token does not open', async () => {
    const only = 'wt_000000000000000000000002'
    await broker.createWorkerToken(workerToken(only, { kinds: ['fine_tuning'] }), '1'.repeat(64))
    const batch = await queueJob(broker)
    expect(await lease(broker, 'a', { token: only, kinds: ['batch', 'fine_tuning'] })).toEqual([])
    await complete(broker, 'a', await leaseOne(broker, 'a'))
    expect(await broker.get(PROJECT, batch)).toMatchObject({ state: 'succeeded' })
    await broker.revokeWorkerToken(only)
    expect(await codeOf(lease(broker, 'a', { token: only }))).toBe('invalid_worker_token')
    expect(await broker.findWorkerToken(only)).toBeUndefined()
  })

  test('a token that has expired opens nothing', async () => {
    const brief = 'wt_000000000000000000000003'
    const expiresAtMs = (await running.clock()) + 1000
    await broker.createWorkerToken(workerToken(brief, { expiresAtMs }), '2'.repeat(64))
    expect(await lease(broker, 'a', { token: brief })).toEqual([])
    await running.advance(1001)
    expect(await codeOf(lease(broker, 'a', { token: brief }))).toBe('invalid_worker_token')
  })
})

describe('workers that wait', () => {
  test('a waiting worker gets a job when it is submitted, queued, resumed or retried', async () => {
    const match = { kinds: ['multimodal.match' as const], waitMs: 20_000 }
    const submitted = lease(broker, 'a', match)
    const job = newJob('multimodal.match')
    await broker.submit(job, { idempotencyKey: null, gpuSecondsBudget: null })
    const [first] = await submitted
    expect(first?.job).toBe(job.id)
    await fail(broker, 'a', first!, { outcome: 'failed' })

    const retried = lease(broker, 'a', match)
    await broker.retry(PROJECT, job.id, { gpuSecondsBudget: null })
    const [second] = await retried
    expect(second).toMatchObject({ job: job.id, attempt: 1, fence: 2 })
    await complete(broker, 'a', second!)

    const queued = lease(broker, 'a', { waitMs: 20_000 })
    const id = await queueJob(broker)
    expect((await queued)[0]?.job).toBe(id)
    await fail(broker, 'a', (await queued)[0]!, { outcome: 'failed' })
  })

  test('one job wakes one worker, the one with its model loaded', async () => {
    const cold = lease(broker, 'cold', { waitMs: 20_000, models: [{ id: MODEL, heads: [], is_loaded: false }] })
    const warm = lease(broker, 'warm', { waitMs: 20_000 })
    const [first, second] = [await queueJob(broker), await queueJob(broker)]
    expect((await warm)[0]?.job).toBe(first)
    expect((await cold)[0]?.job).toBe(second)
    await complete(broker, 'warm', (await warm)[0]!)
    await complete(broker, 'cold', (await cold)[0]!)
  })

  test('a job between two attempts wakes a worker that waits when its time comes', async () => {
    const id = await queueJob(broker)
    await fail(broker, 'a', await leaseOne(broker, 'a'))
    const [again] = await lease(broker, 'a', { waitMs: 20_000 })
    expect(again).toMatchObject({ job: id, attempt: 2 })
    const waiting = lease(broker, 'b', { waitMs: 20_000 })
    await fail(broker, 'a', again!)
    expect((await waiting)[0]).toMatchObject({ job: id, attempt: 3 })
    await complete(broker, 'b', (await waiting)[0]!)
  })

  test('a wait without work ends by itself', async () => {
    expect(await lease(broker, 'a', { waitMs: 50 })).toEqual([])
  })
})

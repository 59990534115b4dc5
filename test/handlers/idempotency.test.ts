// What a POST that makes a job does when it is sent again, and when the project may make no more.

import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import { INTERACTIVE_KINDS } from '../../src/jobs/kinds.ts'
import { FakeWorker, mintWorkerToken, sendTo } from '../fake-worker.ts'
import { bearer, startKeyedWorkers, type Key } from '../files-client.ts'
import type { RunningWorkers } from '../harness.ts'
import { errorOf, pngBase64, post, type JsonAnswer } from '../job-client.ts'

const MODEL = 'flava-emoji'
const ROUTE = '/v1/multimodal/match'

let workers: RunningWorkers
let worker: FakeWorker
let image: string

beforeAll(async () => {
  workers = await startKeyedWorkers({ withoutEncoders: false })
  const token = await mintWorkerToken(sendTo(workers.url), { headers: bearer('sk-root') })
  worker = new FakeWorker(sendTo(workers.url), token, { kinds: INTERACTIVE_KINDS })
  image = await pngBase64()
})
afterAll(() => workers.stop())

/** Ends what a test has left in the queue. */
beforeEach(async () => {
  for (const lease of await worker.lease({ maxJobs: 32, waitMs: 0 })) await worker.complete(lease, { scores: [0.5] })
})

interface Submission {
  key?: Key
  headers?: Record<string, string>
  body?: object
}

function submit({ key = 'sk-one', headers = {}, body = {} }: Submission = {}): Promise<JsonAnswer> {
  const request = { model: MODEL, pairs: [{ image, text: 'a' }], ...body }
  return post(workers, ROUTE, request, { ...bearer(key), ...headers })
}

const withKey = (key: string, more: Submission = {}) =>
  submit({ ...more, headers: { 'idempotency-key': key, ...more.headers } })

test('the same request is answered again as it was, quoted or bare, and makes no second job', async () => {
  const first = await withKey('"replay-1"')
  expect([first.status, first.headers.get('idempotency-replayed')]).toEqual([202, null])
  await worker.complete(await worker.leaseOne(), { scores: [0.5] })
  const again = await withKey('replay-1')
  expect([again.status, again.headers.get('idempotency-replayed')]).toEqual([202, 'true'])
  expect(again.body).toEqual(first.body)
  expect(again.headers.get('location')).toBe(first.headers.get('location'))
  expect(await worker.lease({ waitMs: 0 })).toEqual([])
})

test('another payload under the key is refused, before it is looked at', async () => {
  await withKey('reuse-1')
  const other = await withKey('reuse-1', { body: { pairs: 'nonsense' } })
  expect([other.status, errorOf(other).code]).toEqual([422, 'idempotency_key_reused'])
  const otherRoute = await post(
    workers,
    '/v1/multimodal/embeddings',
    { model: MODEL, pairs: [{ image, text: 'a' }] },
    { ...bearer('sk-one'), 'idempotency-key': 'reuse-1' },
  )
  expect(otherRoute.status).toBe(422)
})

test('while the first request is waiting, a second is told to come back', async () => {
  const first = withKey('flight-1', { headers: { prefer: 'wait=20' } })
  const lease = await worker.leaseOne()
  const second = await withKey('flight-1', { headers: { prefer: 'wait=20' } })
  expect([second.status, errorOf(second).code]).toEqual([409, 'idempotency_key_in_flight'])
  expect(second.headers.get('retry-after')).toBe('1')
  expect(second.headers.get('x-should-retry')).toBeNull()
  await worker.complete(lease, { scores: [0.25] })
  expect((await first).status).toBe(200)
  const third = await withKey('flight-1', { headers: { prefer: 'wait=20' } })
  expect([third.status, third.headers.get('idempotency-replayed')]).toEqual([200, 'true'])
  expect(third.body).toEqual((await first).body)
})

test('keys of two projects have nothing to do with each other', async () => {
  const one = await withKey('shared-1')
  const two = await withKey('shared-1', { key: 'sk-two' })
  expect(two.status).toBe(202)
  expect(two.headers.get('idempotency-replayed')).toBeNull()
  expect(two.body.id).not.toBe(one.body.id)
})

test('a refusal that made nothing leaves the key free', async () => {
  expect((await withKey('free-1', { body: { pairs: [] } })).status).toBe(400)
  expect((await withKey('free-1')).status).toBe(202)
})

test('a job’s failure is its request’s answer, and is given again', async () => {
  const waiting = withKey('failed-1', { headers: { prefer: 'wait=20' } })
  const error = { code: 'corrupt_image', message: 'no picture', param: null, line: null }
  await worker.fail(await worker.leaseOne(), 'failed', { error })
  const first = await waiting
  expect([first.status, errorOf(first).code]).toEqual([422, 'corrupt_image'])
  const again = await withKey('failed-1', { headers: { prefer: 'wait=20' } })
  expect([again.status, again.headers.get('idempotency-replayed')]).toEqual([422, 'true'])
  expect(again.body).toEqual(first.body)
})

test('an answer too long to be kept is made again from the job’s result', async () => {
  const request = { model: MODEL, input: { image, text: 'a' } }
  const headers = { ...bearer('sk-one'), 'idempotency-key': 'long-1', prefer: 'wait=20' }
  const embedding = Array.from({ length: 50_000 }, (_, i) => i / 7)
  const waiting = post(workers, '/v1/multimodal/embeddings', request, headers)
  const items = [{ embedding, text_tokens: 3, image_tokens: 65, is_truncated: false }]
  await worker.completeLong(await worker.leaseOne(), { items })
  const first = await waiting
  expect(first.status).toBe(200)
  const again = await post(workers, '/v1/multimodal/embeddings', request, headers)
  expect([again.status, again.headers.get('idempotency-replayed')]).toEqual([200, 'true'])
  expect(again.body).toEqual(first.body)
})

test('a key that is no key is refused', async () => {
  for (const key of ['""', '"open', 'k'.repeat(256)]) {
    const answer = await withKey(key)
    expect([key, answer.status, errorOf(answer).param]).toEqual([key, 400, 'Idempotency-Key'])
  }
})

test('a client that leaves while it waits does not cancel its job, and finds the answer under its key', async () => {
  const body = JSON.stringify({ model: MODEL, pairs: [{ image, text: 'a' }] })
  const headers = {
    ...bearer('sk-one'),
    'content-type': 'application/json',
    'idempotency-key': 'left-1',
    prefer: 'wait=20',
  }
  const client = new AbortController()
  const waiting = fetch(new URL(ROUTE, workers.url), { method: 'POST', headers, body, signal: client.signal })
  const lease = await worker.leaseOne()
  client.abort()
  await expect(waiting).rejects.toThrow('abort')
  expect(await worker.heartbeat(lease)).toMatchObject({ is_held: true, should_cancel: false })
  await worker.complete(lease, { scores: [0.125] })
  await workers.waitForLog(({ job, status }) => job === lease.job && status !== undefined)
  const again = await post(workers, ROUTE, body, headers)
  expect([again.status, again.headers.get('idempotency-replayed')]).toEqual([200, 'true'])
  expect(again.body).toMatchObject({ data: [{ score: 0.125 }], x_flava: { job: lease.job } })
})

test('a project that has used up its GPU seconds is refused new jobs, finally, and no other project is', async () => {
  const own = await startKeyedWorkers({ withoutEncoders: false, vars: { GPU_SECONDS_BUDGETS: '{"one": 0.25}' } })
  try {
    const token = await mintWorkerToken(sendTo(own.url), { headers: bearer('sk-root') })
    const spender = new FakeWorker(sendTo(own.url), token)
    const request = { model: MODEL, pairs: [{ image, text: 'a' }] }
    for (const _ of ['one that succeeds', 'one that fails'])
      expect((await post(own, ROUTE, request, bearer('sk-one'))).status).toBe(202)
    const [good, bad] = [await spender.leaseOne(), await spender.leaseOne()]
    await spender.fail(bad, 'failed')
    await spender.complete(good, { scores: [0.5] }, { usage: { gpu_seconds: 0.5, tokens: 0, images: 0 } })
    const headers = { ...bearer('sk-one'), 'idempotency-key': 'budget-1' }
    const refused = await post(own, ROUTE, request, headers)
    expect([refused.status, errorOf(refused).code]).toEqual([429, 'gpu_budget_exceeded'])
    expect(refused.headers.get('x-should-retry')).toBe('false')
    expect(errorOf(refused).type).toBe('rate_limit_error')
    // The key is free again: the refusal is not what it stands for.
    expect((await post(own, ROUTE, request, headers)).headers.get('idempotency-replayed')).toBeNull()
    const retried = await post(own, `/v1/jobs/${bad.job}/retry`, {}, bearer('sk-one'))
    expect([retried.status, errorOf(retried).code]).toEqual([429, 'gpu_budget_exceeded'])
    expect((await post(own, ROUTE, request, bearer('sk-two'))).status).toBe(202)
  } finally {
    await own.stop()
  }
})

// /v1/jobs in workerd: what a job shows, its event stream, cancel and retry, owners, and /metrics.

import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { JobListSchema, JobSchema, type Job } from '../../src/handlers/jobs-schema.ts'
import { INTERACTIVE_KINDS } from '../../src/jobs/kinds.ts'
import { FakeWorker, mintWorkerToken, sendTo } from '../fake-worker.ts'
import { bearer, startKeyedWorkers, type Key } from '../files-client.ts'
import type { RunningWorkers } from '../harness.ts'
import { call, errorOf, get, pngBase64, post, readEvents, type JsonAnswer, type StreamedEvent } from '../job-client.ts'

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

async function newJob(key: Key = 'sk-one'): Promise<Job> {
  const answer = await submit({ key })
  expect(answer.status).toBe(202)
  return JobSchema.parse(answer.body)
}

async function jobNow(id: string): Promise<Job> {
  return JobSchema.parse((await get(workers, `/v1/jobs/${id}`, bearer('sk-one'))).body)
}

function openStream(id: string, lastEventId?: string, key: Key = 'sk-one') {
  const headers = { ...bearer(key), ...(lastEventId === undefined ? {} : { 'last-event-id': lastEventId }) }
  return workers.fetch(`/v1/jobs/${id}/events`, { headers })
}

async function streamOf(id: string, lastEventId?: string): Promise<StreamedEvent[]> {
  const events: StreamedEvent[] = []
  for await (const event of readEvents(await openStream(id, lastEventId))) events.push(event)
  return events
}

describe('a job', () => {
  test('tells its place in the queue, its worker, its progress, and in the end its result and usage', async () => {
    const first = await newJob()
    const second = await newJob()
    expect(first).toMatchObject({ status: 'queued', queue_position: 0, waiting_for: null, attempts: 0, worker: null })
    expect(second.queue_position).toBe(1)
    const [lease] = await worker.lease()
    expect(lease?.job).toBe(first.id)
    if (lease === undefined) return
    await worker.heartbeat(lease, { progress: { done: 1, total: 4, unit: 'pairs', eta_seconds: 3 } })
    expect(await jobNow(first.id)).toMatchObject({
      status: 'running',
      attempts: 1,
      worker: 'fake-1',
      queue_position: null,
      progress: { done: 1, total: 4, unit: 'pairs', eta_seconds: 3 },
    })
    expect((await jobNow(second.id)).queue_position).toBe(0)
    await worker.complete(lease, { scores: [0.5] }, { usage: { gpu_seconds: 0.5, tokens: 3, images: 1 } })
    const done = await jobNow(first.id)
    expect(done).toMatchObject({ status: 'succeeded', usage: { gpu_seconds: 0.5, total_tokens: 3, images: 1 } })
    expect(done.ended_at).toBeGreaterThanOrEqual(done.created_at)
    expect(done.result).toMatchObject({ data: [{ index: 0, score: 0.5 }] })
  })

  test('keeps its metadata and the time limit that it was given', async () => {
    const body = { metadata: { run: '7' }, x_flava: { max_runtime_seconds: 9 } }
    expect((await submit({ body })).body).toMatchObject({ metadata: { run: '7' }, max_runtime_seconds: 9 })
    expect(await newJob()).toMatchObject({ metadata: null, max_runtime_seconds: 120 })
  })

  test('lists newest first, by kind, page after page', async () => {
    const ids = [(await newJob()).id, (await newJob()).id, (await newJob()).id].toReversed()
    const page = async (query: string) =>
      JobListSchema.parse((await get(workers, `/v1/jobs?${query}`, bearer('sk-one'))).body)
    const first = await page('limit=2')
    expect(first.data.map(({ id }) => id)).toEqual(ids.slice(0, 2))
    expect(first).toMatchObject({ has_more: true, first_id: ids[0], last_id: ids[1] })
    const rest = await page(`limit=100&after=${ids[1]}`)
    expect(rest.data[0]?.id).toBe(ids[2])
    expect(rest.has_more).toBe(false)
    expect((await page('kind=batch')).data).toEqual([])
    expect((await page('kind=multimodal.match&limit=1')).data[0]?.id).toBe(ids[0])
    for (const [query, param] of [
      ['limit=0', 'limit'],
      ['kind=other', 'kind'],
      ['order=up', 'order'],
    ] as const) {
      const answer = await get(workers, `/v1/jobs?${query}`, bearer('sk-one'))
      expect([answer.status, errorOf(answer).param]).toEqual([400, param])
    }
  })
})

describe('cancel and retry', () => {
  const act = (id: string, what: string): Promise<JsonAnswer> =>
    post(workers, `/v1/jobs/${id}/${what}`, {}, bearer('sk-one'))

  test('a job that waits is cancelled at once, and begins anew when it is tried again', async () => {
    const { id } = await newJob()
    expect(JobSchema.parse((await act(id, 'cancel')).body)).toMatchObject({ status: 'cancelled' })
    expect(await worker.lease({ waitMs: 0 })).toEqual([])
    expect(JobSchema.parse((await act(id, 'retry')).body)).toMatchObject({ status: 'queued', attempts: 0, error: null })
    const lease = await worker.leaseOne()
    expect(lease.job).toBe(id)
    await worker.complete(lease, { scores: [0.5] })
    expect((await jobNow(id)).status).toBe('succeeded')
  })

  test('a job that runs is asked to stop, and says so until its worker has', async () => {
    const { id } = await newJob()
    const lease = await worker.leaseOne()
    expect((await act(id, 'cancel')).body).toMatchObject({ status: 'running', cancel_requested: true })
    expect(await worker.heartbeat(lease)).toMatchObject({ should_cancel: true })
    await worker.fail(lease, 'cancelled')
    expect(await jobNow(id)).toMatchObject({ status: 'cancelled' })
  })

  test('what has ended is not cancelled, and what has not failed is not tried again', async () => {
    const { id } = await newJob()
    const early = await act(id, 'retry')
    expect([early.status, errorOf(early).code]).toEqual([409, 'job_state_conflict'])
    await worker.complete(await worker.leaseOne(), { scores: [0.5] })
    for (const what of ['cancel', 'retry']) {
      const late = await act(id, what)
      expect([late.status, errorOf(late).code]).toEqual([409, 'job_state_conflict'])
      expect(late.headers.get('x-should-retry')).toBe('false')
    }
  })

  test('a job that fails for good shows why, and may be tried again', async () => {
    const { id } = await newJob()
    const error = { code: 'corrupt_image', message: 'no picture', param: 'images[0]', line: null }
    await worker.fail(await worker.leaseOne(), 'failed', { error })
    expect(await jobNow(id)).toMatchObject({ status: 'failed', error })
    await act(id, 'retry')
    await worker.complete(await worker.leaseOne(), { scores: [0.5] })
    expect(await jobNow(id)).toMatchObject({ status: 'succeeded', error: null })
  })
})

describe('the event stream', () => {
  test('tells states, log lines, metrics and progress as they come, then ends', async () => {
    const { id } = await newJob()
    const response = await openStream(id)
    expect(response.status).toBe(200)
    expect(response.headers.get('content-type')).toBe('text/event-stream')
    expect(response.headers.get('cache-control')).toBe('no-cache')
    const stream = readEvents(response)
    const next = async (): Promise<StreamedEvent> => {
      const { value } = await stream.next()
      if (value === undefined) throw new Error('the stream ended early')
      return value
    }
    expect(await next()).toMatchObject({
      id: '1',
      event: 'state',
      data: { state: 'queued', job: id, object: 'job.event' },
    })
    const lease = await worker.leaseOne()
    expect(await next()).toMatchObject({ event: 'state', data: { state: 'running' } })
    await worker.heartbeat(lease, {
      progress: { done: 1, total: 2, unit: 'steps', eta_seconds: 1 },
      events: [
        { type: 'log', level: 'warn', message: 'a line' },
        { type: 'metrics', step: 1, values: { train_loss: 0.5 } },
      ],
    })
    const heard = new Map([await next(), await next(), await next()].map((event) => [event.event, event.data]))
    expect(heard.get('log')).toMatchObject({ level: 'warn', message: 'a line' })
    expect(heard.get('metrics')).toMatchObject({ step: 1, values: { train_loss: 0.5 } })
    expect(heard.get('progress')).toMatchObject({ progress: { done: 1, total: 2, unit: 'steps', eta_seconds: 1 } })
    await worker.complete(lease, { scores: [0.5] })
    expect(await next()).toMatchObject({ event: 'state', data: { state: 'succeeded' } })
    const end = await next()
    expect(end).toMatchObject({ id: null, event: 'end' })
    expect(JobSchema.parse(end.data)).toMatchObject({ id, status: 'succeeded' })
    expect(await stream.next()).toEqual({ done: true, value: undefined })
  })

  test('goes on after the event that the client saw last, without a gap and without a repetition', async () => {
    const { id } = await newJob()
    const lease = await worker.leaseOne()
    for (let step = 0; step < 5; step++) {
      await worker.heartbeat(lease, { events: [{ type: 'metrics', step, values: { loss: step } }] })
    }
    await worker.complete(lease, { scores: [0.5] })
    const whole = await streamOf(id)
    expect(whole.slice(0, -1).map(({ id: sequence }) => Number(sequence))).toEqual(
      whole.slice(0, -1).map((_, i) => i + 1),
    )
    const seen = whole[3]?.id ?? ''
    expect(await streamOf(id, seen)).toEqual(whole.slice(4))
    const last = whole.at(-2)?.id ?? ''
    expect((await streamOf(id, last)).map(({ event }) => event)).toEqual(['end'])
  })

  test('more events than one call carries come in order', async () => {
    const { id } = await newJob()
    const lease = await worker.leaseOne()
    for (let beat = 0; beat < 3; beat++) {
      const events = Array.from({ length: 200 }, (_, i) => ({
        type: 'metrics' as const,
        step: 200 * beat + i,
        values: { loss: 1 },
      }))
      await worker.heartbeat(lease, { events })
    }
    await worker.complete(lease, { scores: [0.5] })
    const steps = (await streamOf(id)).filter(({ event }) => event === 'metrics').map(({ data }) => data.step)
    expect(steps).toEqual(Array.from({ length: 600 }, (_, i) => i))
  })

  test('ends at once for a job that is cancelled, and a client that leaves disturbs nobody', async () => {
    const { id } = await newJob()
    const left = await openStream(id)
    await left.body?.cancel()
    const staying = streamOf(id)
    await post(workers, `/v1/jobs/${id}/cancel`, {}, bearer('sk-one'))
    expect((await staying).map(({ event }) => event)).toEqual(['state', 'state', 'end'])
  })

  test('refuses a Last-Event-ID that is none of its own', async () => {
    const { id } = await newJob()
    const response = await openStream(id, 'evt_1')
    expect(response.status).toBe(400)
    expect(await response.json()).toMatchObject({ error: { code: 'invalid_input', param: 'Last-Event-ID' } })
  })
})

describe('owners', () => {
  test('another project’s key learns nothing of a job, by any route', async () => {
    const { id } = await newJob()
    const unknown = `job_${'0'.repeat(24)}`
    const routes = [
      ['GET', ''],
      ['GET', '/events'],
      ['POST', '/cancel'],
      ['POST', '/retry'],
    ] as const
    for (const [method, path] of routes) {
      const theirs = await call(workers, method, `/v1/jobs/${id}${path}`, { headers: bearer('sk-two') })
      const none = await call(workers, method, `/v1/jobs/${unknown}${path}`, { headers: bearer('sk-two') })
      expect([theirs.status, errorOf(theirs).code]).toEqual([404, 'not_found'])
      expect(theirs.body).toEqual(none.body)
    }
    const list = JobListSchema.parse((await get(workers, '/v1/jobs', bearer('sk-two'))).body)
    expect(list.data).toEqual([])
    expect((await jobNow(id)).status).toBe('queued')
  })

  test('a key without the scope, and none at all, are refused', async () => {
    expect((await submit({ key: 'sk-embed' })).status).toBe(403)
    expect((await post(workers, ROUTE, {})).status).toBe(401)
    expect((await get(workers, '/v1/jobs', bearer('sk-embed'))).status).toBe(403)
  })
})

describe('/metrics', () => {
  test('tells waiting, running and ended jobs in Prometheus’ format, to an admin alone', async () => {
    await newJob()
    const [held] = [await newJob(), await worker.leaseOne()].slice(1)
    expect(held).toBeDefined()
    const response = await workers.fetch('/metrics', { headers: bearer('sk-root') })
    expect(response.headers.get('content-type')).toBe('text/plain; version=0.0.4; charset=utf-8')
    const text = await response.text()
    expect(text).toMatch(/^flava_jobs_waiting\{kind="multimodal\.match"\} 1$/m)
    expect(text).toMatch(/^flava_leases 1$/m)
    expect(text).toMatch(/^flava_workers_connected 1$/m)
    expect(text).toMatch(/^flava_jobs_ended_total\{kind="multimodal\.match",state="succeeded"\} [1-9]\d*$/m)
    const count = /^flava_job_run_seconds_count\{kind="multimodal\.match"\} (\d+)$/m.exec(text)?.[1]
    const infinite = /^flava_job_run_seconds_bucket\{kind="multimodal\.match",le="\+Inf"\} (\d+)$/m.exec(text)?.[1]
    expect(Number(count)).toBeGreaterThan(0)
    expect(infinite).toBe(count)
    // Every line is a comment or a sample.
    for (const line of text.trimEnd().split('\n')) {
      expect(line).toMatch(/^(# (HELP|TYPE) flava_\w+ .+|flava_\w+(\{\w+="[^"]*"(,\w+="[^"]*")*\})? [-+.e\d]+)$/)
    }
    for (const [headers, status] of [
      [bearer('sk-one'), 403],
      [{}, 401],
    ] as const) {
      const refused = await workers.fetch('/metrics', { headers })
      expect(refused.status).toBe(status)
      await refused.arrayBuffer()
    }
  })
})

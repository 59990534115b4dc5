// GET /v1/usage: what the edge answered and what workers reported, by project and day.

import { afterAll, beforeAll, expect, test } from 'vitest'
import { UsageSchema } from '../../src/handlers/usage.ts'
import { MODEL } from '../embedding-client.ts'
import { bearer, bodyOf, get, refusalOf, sha256, type Key } from '../files-client.ts'
import { startWorkers, type RunningWorkers } from '../harness.ts'
import { makePicture, toBase64 } from '../pictures.ts'
import { startWorkerBench } from '../worker-bench.ts'

const KEYS = [
  { id: 'one', project: 'one', sha256: sha256('sk-one'), scopes: ['embed', 'jobs'] },
  { id: 'two', project: 'two', sha256: sha256('sk-two'), scopes: ['embed'] },
]

let workers: RunningWorkers
beforeAll(async () => {
  const vars = { API_KEYS: JSON.stringify(KEYS), GPU_SECONDS_BUDGETS: JSON.stringify({ two: 100 }) }
  workers = await startWorkers({ vars: { 'flava-edge': vars } })
})
afterAll(() => workers.stop())

const today = (): string => new Date().toISOString().slice(0, 10)
const usage = async (key: Key, query = '') =>
  UsageSchema.parse(await bodyOf(await get(workers, `/v1/usage${query}`, { key }), 200))

/** Sends an embedding request; resolves when its count has reached the broker, which may be after the answer. */
async function embed(input: unknown): Promise<number> {
  const before = (await usage('sk-one')).total.requests
  const response = await workers.fetch('/v1/embeddings', {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...bearer('sk-one') },
    body: JSON.stringify({ model: MODEL, input }),
  })
  const body = await bodyOf(response, 200)
  while ((await usage('sk-one')).total.requests === before) continue
  const tokens = typeof body === 'object' && body !== null && 'usage' in body ? body.usage : undefined
  return Number(JSON.parse(JSON.stringify(tokens)).total_tokens)
}

test('embedding requests are counted with their tokens and pictures, for their project alone', async () => {
  const image = toBase64(await makePicture('png', 32, 1))
  const tokens = (await embed(['a cat', 'a dog'])) + (await embed([{ image }, 'a cat']))
  const counts = { requests: 2, tokens, images: 1, gpu_seconds: 0, jobs: 0 }
  const day = today()
  expect(await usage('sk-one')).toEqual({
    object: 'usage',
    from: `${day.slice(0, 7)}-01`,
    to: day,
    data: [{ date: day, ...counts }],
    total: counts,
    gpu_seconds_budget: null,
  })
  expect(await usage('sk-two')).toMatchObject({ data: [], total: { requests: 0 }, gpu_seconds_budget: 100 })
})

test('other days are other days', async () => {
  const empty = { requests: 0, tokens: 0, images: 0, gpu_seconds: 0, jobs: 0 }
  expect(await usage('sk-one', '?from=2020-01-01&to=2020-12-31')).toMatchObject({
    from: '2020-01-01',
    to: '2020-12-31',
    data: [],
    total: empty,
  })
})

test('a request that is refused counts for nothing', async () => {
  const before = await usage('sk-one')
  const response = await workers.fetch('/v1/embeddings', {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...bearer('sk-one') },
    body: JSON.stringify({ model: 'none', input: 'x' }),
  })
  expect(response.status).toBe(404)
  await embed('a cat')
  expect((await usage('sk-one')).total.requests).toBe(before.total.requests + 1)
})

test.for(['?from=yesterday', '?to=2026-13-01', '?from=2026-02-02&to=2026-02-01'])('%s is refused', async (query) => {
  expect((await refusalOf(await get(workers, `/v1/usage${query}`))).status).toBe(400)
})

test('what workers report counts for the job’s project: GPU seconds as they are used, the rest with the result', async () => {
  const bench = await startWorkerBench()
  try {
    const worker = bench.worker()
    const total = async (key: Key) =>
      UsageSchema.parse(await bodyOf(await get(bench.workers, '/v1/usage', { key }), 200)).total
    await bench.submit('multimodal.match')
    const match = await worker.leaseOne()
    await worker.heartbeat(match, { gpu_seconds: 1.5 })
    expect(await total('sk-one')).toEqual({ requests: 0, tokens: 0, images: 0, gpu_seconds: 1.5, jobs: 1 })
    await worker.complete(match, { scores: [1] }, { usage: { gpu_seconds: 2, tokens: 30, images: 4 } })
    expect(await total('sk-one')).toEqual({ requests: 1, tokens: 30, images: 4, gpu_seconds: 2, jobs: 1 })
    await bench.submit('batch')
    const batch = await worker.leaseOne()
    const counts = { request_counts: { total: 9, completed: 7, failed: 2 } }
    await worker.complete(batch, counts, { usage: { gpu_seconds: 1, tokens: 70, images: 7 } })
    expect(await total('sk-one')).toEqual({ requests: 8, tokens: 100, images: 11, gpu_seconds: 3, jobs: 2 })
    expect(await total('sk-two')).toMatchObject({ requests: 0, jobs: 0 })
  } finally {
    await bench.workers.stop()
  }
})

// /v1/webhook_endpoints and /v1/worker_tokens: secrets are shown once; what is another's is not there.

import { afterAll, beforeAll, expect, test } from 'vitest'
import { WebhookEndpointListSchema, WebhookEndpointSchema } from '../../src/handlers/webhook-endpoints.ts'
import { WorkerTokenListSchema, WorkerTokenSchema } from '../../src/handlers/worker-tokens.ts'
import { bodyOf, get, postJson, refusalOf, startKeyedWorkers, type Key } from '../files-client.ts'
import { startWorkers, type RunningWorkers } from '../harness.ts'

let workers: RunningWorkers
beforeAll(async () => {
  workers = await startKeyedWorkers()
})
afterAll(() => workers.stop())

const list = async (key: Key) =>
  WebhookEndpointListSchema.parse(await bodyOf(await get(workers, '/v1/webhook_endpoints', { key }), 200)).data

test('a webhook endpoint tells its secret once, is listed to its project alone, and goes', async () => {
  const request = { url: 'https://hooks.example.org/flava', events: ['batch.completed', 'batch.completed'] }
  const response = await postJson(workers, '/v1/webhook_endpoints', request)
  expect(response.headers.get('cache-control')).toBe('no-store')
  const { secret, ...endpoint } = WebhookEndpointSchema.parse(await bodyOf(response, 200))
  expect(endpoint).toEqual({
    id: expect.stringMatching(/^we_[0-9a-f]{24}$/),
    object: 'webhook_endpoint',
    url: request.url,
    events: ['batch.completed'],
    created_at: expect.any(Number),
    disabled_at: null,
  })
  expect(secret).toMatch(/^whsec_[A-Za-z0-9+/]{43}=$/)
  expect(await list('sk-one')).toEqual([endpoint])
  expect(await list('sk-two')).toEqual([])
  const path = `/v1/webhook_endpoints/${endpoint.id}`
  expect((await get(workers, path, { key: 'sk-two', method: 'DELETE' })).status).toBe(404)
  expect(await bodyOf(await get(workers, path, { method: 'DELETE' }), 200)).toEqual({
    id: endpoint.id,
    object: 'webhook_endpoint',
    deleted: true,
  })
  expect(await list('sk-one')).toEqual([])
})

test.for([
  'nothing',
  'http://hooks.example.org/',
  'https://user:secret@hooks.example.org/',
  'https://hooks.example.org/#part',
  'https://10.0.0.1/',
  'https://[::1]/',
  'https://localhost/',
  'http://127.0.0.1:8080/',
  'https://intranet/',
  'ftp://hooks.example.org/',
])('%s is no place that a deployment delivers to', async (url) => {
  expect(await refusalOf(await postJson(workers, '/v1/webhook_endpoints', { url }))).toMatchObject({
    status: 400,
    error: { param: 'url' },
  })
})

test('an event of no such name is refused, and so is a seventeenth endpoint', async () => {
  const url = 'https://hooks.example.org/'
  expect((await postJson(workers, '/v1/webhook_endpoints', { url, events: ['batch.started'] }, 'sk-two')).status).toBe(
    400,
  )
  for (let made = 0; made < 16; made += 1) {
    await bodyOf(await postJson(workers, '/v1/webhook_endpoints', { url }, 'sk-two'), 200)
  }
  expect((await postJson(workers, '/v1/webhook_endpoints', { url }, 'sk-two')).status).toBe(400)
})

test('without keys, on loopback, this machine itself may be told', async () => {
  const open = await startWorkers({ withoutEncoders: true })
  try {
    const response = await open.fetch('/v1/webhook_endpoints', {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ url: 'http://127.0.0.1:8080/hook' }),
    })
    expect(WebhookEndpointSchema.parse(await bodyOf(response, 200)).url).toBe('http://127.0.0.1:8080/hook')
  } finally {
    await open.stop()
  }
})

test('a worker token is shown once, listed without it, and revoked for good', async () => {
  const request = { name: 'gpu-1', kinds: ['batch'], expires_at: 4_000_000_000 }
  const response = await postJson(workers, '/v1/worker_tokens', request, 'sk-root')
  expect(response.headers.get('cache-control')).toBe('no-store')
  const { token, ...record } = WorkerTokenSchema.parse(await bodyOf(response, 200))
  expect(token).toMatch(new RegExp(`^fwt_${record.id.slice('wt_'.length)}_[0-9a-f]{64}$`))
  expect(record).toEqual({
    id: expect.stringMatching(/^wt_[0-9a-f]{24}$/),
    object: 'worker_token',
    ...request,
    created_at: expect.any(Number),
    revoked_at: null,
    last_used_at: null,
  })
  const listed = WorkerTokenListSchema.parse(
    await bodyOf(await get(workers, '/v1/worker_tokens', { key: 'sk-root' }), 200),
  )
  expect(listed.data).toEqual([record])
  const revoke = () => get(workers, `/v1/worker_tokens/${record.id}`, { key: 'sk-root', method: 'DELETE' })
  const revoked = WorkerTokenSchema.parse(await bodyOf(await revoke(), 200))
  expect(revoked).toEqual({ ...record, revoked_at: expect.any(Number) })
  expect(await bodyOf(await revoke(), 200)).toEqual(revoked)
})

test.for([
  ['GET', '/v1/worker_tokens'],
  ['POST', '/v1/worker_tokens'],
  ['DELETE', `/v1/worker_tokens/wt_${'0'.repeat(24)}`],
] as const)('%s %s is for admins', async ([method, path]) => {
  const response =
    method === 'POST' ? await postJson(workers, path, { name: 'x' }) : await get(workers, path, { method })
  expect(await refusalOf(response)).toMatchObject({ status: 403, error: { code: 'insufficient_scope' } })
})

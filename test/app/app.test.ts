// What surrounds every handler: ids, timing, traces, methods, CORS, health, the log, and what it never holds.

import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { embed, MODEL, post } from '../embedding-client.ts'
import { startWorkers, type RunningWorkers } from '../harness.ts'
import { makePicture, toBase64 } from '../pictures.ts'
import openApiDocument from '../../contract/openapi.json' with { type: 'json' }

const ORIGIN = 'https://app.example'

let workers: RunningWorkers

beforeAll(async () => {
  workers = await startWorkers({ vars: { 'flava-edge': { CORS_ORIGINS: `${ORIGIN}, https://other.example` } } })
})
afterAll(() => workers.stop())

describe('health', () => {
  test('/livez answers without a look at anything else', async () => {
    const response = await workers.fetch('/livez')
    expect(response.status).toBe(200)
    expect(await response.json()).toEqual({ status: 'READY' })
  })

  test('/readyz loads both encoders with one model, within 96 MiB each, and says that the service is open', async () => {
    const image = { image: toBase64(await makePicture('png')) }
    await embed(workers, Array(256).fill('a long text '.repeat(30)))
    await embed(
      workers,
      Array.from({ length: 256 }, () => image),
    )
    const response = await workers.fetch('/readyz')
    const body: unknown = await response.json()
    const encoder = {
      status: 'READY',
      build: 'relaxed-simd',
      dot: expect.stringMatching(/^(fused|pairs)$/),
      variant: 'default',
      space: expect.stringMatching(/^[0-9a-f]{16}$/),
      weights: expect.stringMatching(/^[0-9a-f]{64}$/),
      memory_bytes: expect.toSatisfy((bytes: number) => bytes > 0 && bytes <= 96 * 1024 * 1024),
      weight_bytes: expect.any(Number),
      activation_bytes: expect.toSatisfy((bytes: number) => bytes > 0 && bytes <= 4 * 1024 * 1024),
      load_ms: expect.any(Number),
      warm_up_ms: expect.any(Number),
    }
    expect(body).toEqual({
      status: 'READY',
      auth: expect.stringContaining('open on loopback'),
      workers: {
        text_encoder: encoder,
        image_encoder: encoder,
        pixels: { status: 'READY', formats: ['png', 'jpeg', 'webp'], max_pixels: 12_582_912 },
      },
    })
    expect(response.headers.get('x-flava-auth')).toContain('open on loopback')
  })
})

describe('models', () => {
  test('the list holds the one model, and the model alone is the same object', async () => {
    const list: unknown = await (await workers.fetch('/v1/models')).json()
    const model: unknown = await (await workers.fetch(`/v1/models/${MODEL}`)).json()
    expect(list).toEqual({ object: 'list', data: [model] })
    expect(model).toMatchObject({
      id: MODEL,
      object: 'model',
      x_flava: {
        variant: 'default',
        quantization: expect.stringMatching(/ e8$/),
        dimensions: 192,
        license: expect.any(String),
        image: { tokens: 65 },
      },
    })
  })

  test('an unknown model is not found', async () => {
    const response = await workers.fetch('/v1/models/gpt')
    expect(response.status).toBe(404)
    expect(await response.json()).toMatchObject({
      error: { code: 'model_not_found', type: 'not_found_error', param: 'model' },
    })
  })
})

describe('methods and routes', () => {
  test('an unknown route is not found', async () => {
    const response = await workers.fetch('/v2/embeddings')
    expect(response.status).toBe(404)
    expect(await response.json()).toMatchObject({ error: { code: 'route_not_found' } })
    expect(response.headers.get('x-request-id')).toMatch(/^req_/)
  })

  test.for<[string, string, string]>([
    ['GET', '/v1/embeddings', 'POST, OPTIONS'],
    ['DELETE', '/v1/models', 'GET, HEAD, OPTIONS'],
    ['PUT', `/v1/models/${MODEL}`, 'GET, HEAD, DELETE, OPTIONS'],
    ['POST', '/livez', 'GET, HEAD, OPTIONS'],
  ])('%s %s is refused with what is allowed', async ([method, path, allowed]) => {
    const response = await workers.fetch(path, { method })
    expect(response.status).toBe(405)
    expect(response.headers.get('allow')).toBe(allowed)
    expect(await response.json()).toMatchObject({ error: { code: 'method_not_allowed' } })
  })

  test.for(['/livez', '/v1/models', '/openapi.json'])('HEAD %s has the headers of GET and no body', async (path) => {
    const [head, get] = await Promise.all([workers.fetch(path, { method: 'HEAD' }), workers.fetch(path)])
    expect(head.status).toBe(200)
    expect(head.headers.get('content-type')).toBe(get.headers.get('content-type'))
    expect(await head.text()).toBe('')
  })

  test('HEAD of a route that only takes POST is refused', async () => {
    expect((await workers.fetch('/v1/embeddings', { method: 'HEAD' })).status).toBe(405)
  })

  test('OPTIONS tells the methods', async () => {
    const response = await workers.fetch('/v1/embeddings', { method: 'OPTIONS' })
    expect(response.status).toBe(204)
    expect(response.headers.get('allow')).toBe('POST, OPTIONS')
  })

  test('/openapi.json is the contract', async () => {
    expect(await (await workers.fetch('/openapi.json')).json()).toEqual(openApiDocument)
  })
})

describe('CORS', () => {
  test('a preflight from a listed origin is allowed, with the headers it asks for', async () => {
    const response = await workers.fetch('/v1/embeddings', {
      method: 'OPTIONS',
      headers: {
        origin: ORIGIN,
        'access-control-request-method': 'POST',
        'access-control-request-headers': 'authorization,content-type,x-stainless-lang',
      },
    })
    expect(response.status).toBe(204)
    expect(response.headers.get('access-control-allow-origin')).toBe(ORIGIN)
    expect(response.headers.get('access-control-allow-methods')).toContain('POST')
    expect(response.headers.get('access-control-allow-headers')).toContain('x-stainless-lang')
  })

  test('answers and errors carry the origin and let a page read our headers', async () => {
    const responses = await Promise.all([
      workers.fetch('/v1/models', { headers: { origin: ORIGIN } }),
      workers.fetch('/nowhere', { headers: { origin: ORIGIN } }),
      post(workers, { model: 'gpt', input: 'a' }, { origin: ORIGIN }),
    ])
    expect(responses.map(({ status }) => status)).toEqual([200, 404, 404])
    for (const { headers } of responses) {
      expect(headers.get('access-control-allow-origin')).toBe(ORIGIN)
      expect(headers.get('access-control-expose-headers')).toContain('x-flava-space')
    }
  })

  test('another origin is not allowed', async () => {
    const response = await workers.fetch('/v1/models', { headers: { origin: 'https://evil.example' } })
    expect(response.headers.get('access-control-allow-origin')).toBeNull()
  })
})

describe('ids, timing and traces', () => {
  test('a sane request id is kept, another is replaced', async () => {
    const kept = await workers.fetch('/livez', { headers: { 'x-request-id': 'abc-123' } })
    expect(kept.headers.get('x-request-id')).toBe('abc-123')
    for (const id of ['two words', 'x'.repeat(200), '<script>']) {
      const replaced = await workers.fetch('/livez', { headers: { 'x-request-id': id } })
      expect(replaced.headers.get('x-request-id')).toMatch(/^req_[0-9a-f]{32}$/)
    }
  })

  test('Server-Timing names the stages that a request went through', async () => {
    const image = { image: toBase64(await makePicture('png')) }
    const response = await post(workers, { model: MODEL, input: ['cat', image] })
    const timing = response.headers.get('server-timing') ?? ''
    const names = timing.split(', ').map((entry) => /^(\w+);dur=\d+\.\d$/.exec(entry)?.[1])
    expect(new Set(names)).toEqual(new Set(['auth', 'parse', 'model', 'text', 'pixels', 'image', 'total']))
  })

  test('one log line a request tells id, route, model, stages and status; traces reach the encoders; content does not appear', async () => {
    const traceId = '0af7651916cd43dd8448eb211c80319c'
    const headers = { 'x-request-id': 'log-1', traceparent: `00-${traceId}-b7ad6b7169203331-01` }
    const image = toBase64(await makePicture('png'))
    const response = await post(
      workers,
      { model: MODEL, input: ['a secret phrase', { image }], user: 'a secret person' },
      headers,
    )
    expect(response.status).toBe(200)
    await workers.waitForLog(({ event, id }) => event === 'request' && id === 'log-1')
    const lines = workers.logLines.filter(({ id }) => id === 'log-1')
    const [request, ...others] = lines.filter(({ event }) => event === 'request')
    expect(others).toEqual([])
    expect(request).toMatchObject({
      trace: traceId,
      parent: 'b7ad6b7169203331',
      method: 'POST',
      route: '/v1/embeddings',
      model: MODEL,
      items: 2,
      calls: 3,
      status: 200,
      stages: { parse: expect.any(Number), text: expect.any(Number) },
    })
    const calls = lines.filter(({ event }) => event === 'call')
    expect(calls).toHaveLength(3)
    expect(new Set(calls.map(({ worker }) => worker))).toEqual(new Set(['image-encoder', 'pixels', 'text-encoder']))
    for (const { traceparent } of calls) expect(traceparent).toBe(`00-${traceId}-${String(request?.['span'])}-01`)
    const everything = JSON.stringify(workers.logLines)
    for (const secret of ['secret phrase', 'secret person', image.slice(0, 40)])
      expect(everything).not.toContain(secret)
  })

  test('an error’s log line has its code', async () => {
    await post(workers, { model: 'a secret model', input: 'a' }, { 'x-request-id': 'log-2' })
    const line = await workers.waitForLog(({ event, id }) => event === 'request' && id === 'log-2')
    expect(line).toMatchObject({ status: 404, code: 'model_not_found', route: '/v1/embeddings' })
    // A name that is none of ours is the caller's text.
    expect(JSON.stringify(workers.logLines)).not.toContain('secret model')
  })
})

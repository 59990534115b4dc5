// Who may call: keys and scopes where keys are configured, loopback alone where none are.

import { createHash } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { MODEL } from '../embedding-client.ts'
import { startWorkers, type HttpResponse, type RunningWorkers } from '../harness.ts'

const KEYS = [
  { id: 'reader', project: 'search', key: 'sk-reader', scopes: ['embed'] },
  { id: 'runner', project: 'training', key: 'sk-runner', scopes: ['jobs'] },
  { id: 'root', project: 'ops', key: 'sk-root', scopes: ['admin'] },
]
const API_KEYS = JSON.stringify(
  KEYS.map(({ key, ...rest }) => ({ ...rest, sha256: createHash('sha256').update(key).digest('hex') })),
)

function call(
  workers: RunningWorkers,
  authorization: string | undefined,
  base = 'http://127.0.0.1',
): Promise<HttpResponse> {
  return workers.fetch(`${base}/v1/embeddings`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...(authorization === undefined ? {} : { authorization }) },
    body: JSON.stringify({ model: MODEL, input: 'cat' }),
  })
}

async function codeOf(response: HttpResponse): Promise<unknown> {
  const body: unknown = await response.json()
  return typeof body === 'object' && body !== null && 'error' in body ? body.error : undefined
}

describe('with keys', () => {
  let workers: RunningWorkers
  beforeAll(async () => {
    workers = await startWorkers({ vars: { 'flava-edge': { API_KEYS } } })
  })
  afterAll(() => workers.stop())

  test.for(['sk-reader', 'sk-root'])('%s may embed, from anywhere', async (key) => {
    const response = await call(workers, `Bearer ${key}`, 'https://flava.example')
    expect(response.status).toBe(200)
    expect(response.headers.get('x-flava-auth')).toBeNull()
  })

  test.for([undefined, '', 'Bearer', 'Basic c2stcmVhZGVy', 'sk-reader'])(
    'authorization %j is no key: 401',
    async (header) => {
      const response = await call(workers, header)
      expect(response.status).toBe(401)
      expect(response.headers.get('www-authenticate')).toBe('Bearer')
      expect(await codeOf(response)).toMatchObject({ code: 'missing_api_key', type: 'authentication_error' })
    },
  )

  test('a wrong key is refused: 401', async () => {
    const response = await call(workers, 'Bearer sk-guess')
    expect(response.status).toBe(401)
    expect(await codeOf(response)).toMatchObject({ code: 'invalid_api_key' })
  })

  test('a key without the scope is refused: 403', async () => {
    const response = await call(workers, 'Bearer sk-runner')
    expect(response.status).toBe(403)
    expect(await codeOf(response)).toMatchObject({ code: 'insufficient_scope', type: 'permission_error' })
  })

  test('any key may list models, and no path under /v1 is told apart without one', async () => {
    const authorization = 'Bearer sk-runner'
    expect((await workers.fetch('/v1/models', { headers: { authorization } })).status).toBe(200)
    const statuses = await Promise.all(
      ['/v1/models', `/v1/models/${MODEL}`, '/v1/nothing', '/v1/embeddings'].map((path) => workers.fetch(path)),
    )
    expect(statuses.map(({ status }) => status)).toEqual([401, 401, 401, 401])
    expect((await workers.fetch('/v1/nothing', { headers: { authorization } })).status).toBe(404)
  })

  test('health and the document need no key', async () => {
    for (const path of ['/livez', '/readyz', '/openapi.json']) expect((await workers.fetch(path)).status).toBe(200)
    expect(await (await workers.fetch('/readyz')).json()).toMatchObject({ auth: 'API keys' })
  })

  test('the log names the key’s id and project, never the key', async () => {
    await workers.fetch('/v1/models', { headers: { authorization: 'Bearer sk-reader', 'x-request-id': 'key-1' } })
    const line = await workers.waitForLog(({ event, id }) => event === 'request' && id === 'key-1')
    expect(line).toMatchObject({ key: 'reader', project: 'search' })
    expect(JSON.stringify(workers.logLines)).not.toContain('sk-')
  })
})

describe('without keys', () => {
  let workers: RunningWorkers
  beforeAll(async () => {
    workers = await startWorkers()
  })
  afterAll(() => workers.stop())

  test.for(['http://127.0.0.1:8787', 'http://localhost', 'http://[::1]:8787'])(
    '%s is open and says so',
    async (base) => {
      const response = await call(workers, undefined, base)
      expect(response.status).toBe(200)
      expect(response.headers.get('x-flava-auth')).toContain('open on loopback')
    },
  )

  test.for(['https://flava.example', 'http://192.168.1.5', 'http://localhost.example.org', 'http://127.0.0.1.nip.io'])(
    '%s is closed',
    async (base) => {
      const response = await call(workers, 'Bearer anything', base)
      expect(response.status).toBe(401)
      expect(await codeOf(response)).toMatchObject({ code: 'missing_api_key' })
    },
  )
})

describe('with a secret that cannot be read', () => {
  let workers: RunningWorkers
  beforeAll(async () => {
    workers = await startWorkers({ vars: { 'flava-edge': { API_KEYS: '[{"id":"sk-oops"}]' } } })
  })
  afterAll(() => workers.stop())

  test('nobody gets in, and /readyz says why without the secret', async () => {
    const response = await call(workers, 'Bearer sk-oops')
    expect(response.status).toBe(500)
    expect(await codeOf(response)).toMatchObject({ code: 'misconfigured' })
    const readiness = await workers.fetch('/readyz')
    const text = await readiness.text()
    expect(readiness.status).toBe(503)
    expect(text).toContain('API_KEYS')
    expect(text).not.toContain('sk-oops')
  })
})

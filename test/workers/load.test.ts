// Too much work, clients that go away, and models that are not what they say: what the Workers do under stress.

import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { request } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { embed, MODEL, post, vectorsOf } from '../embedding-client.ts'
import { startWorkers, type RunningWorkers } from '../harness.ts'
import { makePicture, makePlainPng, toBase64 } from '../pictures.ts'

const LONG_TEXT = 'a grey cat sleeps on a wooden chair '.repeat(12)

async function makeImages(count: number): Promise<object[]> {
  const image = toBase64(await makePicture('png', 256))
  return Array.from({ length: count }, () => ({ image }))
}

describe('a full queue', () => {
  let workers: RunningWorkers
  beforeAll(async () => {
    const MAX_QUEUE = '1'
    workers = await startWorkers({ vars: { 'flava-edge-text': { MAX_QUEUE }, 'flava-edge-pixels': { MAX_QUEUE } } })
  })
  afterAll(() => workers.stop())

  test.for<[string, () => Promise<unknown>]>([
    ['text encoder', async () => Array(40).fill(LONG_TEXT)],
    ['pixels', async () => makeImages(20)],
  ])('of the %s answers 503 with retry-after, and requests later get through', async ([, makeInput]) => {
    const input = await makeInput()
    const [reference] = vectorsOf(await embed(workers, input))
    const responses = await Promise.all(Array.from({ length: 12 }, () => post(workers, { model: MODEL, input })))
    const refused = responses.filter(({ status }) => status !== 200)
    expect(refused.length).toBeGreaterThan(0)
    expect(refused.length).toBeLessThan(12)
    for (const response of refused) {
      expect(response.status).toBe(503)
      expect(response.headers.get('retry-after')).toBe('1')
      expect(await response.json()).toMatchObject({ error: { code: 'overloaded', type: 'service_unavailable' } })
    }
    const [later] = vectorsOf(await embed(workers, input))
    expect(later).toEqual(reference)
  })
})

describe('a request that costs too much', () => {
  let workers: RunningWorkers
  beforeAll(async () => {
    workers = await startWorkers({ vars: { 'flava-edge': { CPU_LIMIT_MS: '100', EDGE_GMAC_PER_SECOND: '10' } } })
  })
  afterAll(() => workers.stop())

  test('is refused with the limit, and a smaller one is answered', async () => {
    const response = await post(workers, { model: MODEL, input: Array(100).fill(LONG_TEXT) })
    expect(response.status).toBe(413)
    expect(await response.json()).toMatchObject({
      error: { code: 'request_too_costly', param: 'input', message: expect.stringContaining('the limit is 100 ms') },
    })
    await embed(workers, [LONG_TEXT, 'cat'])
  })

  test('counts the pixels that are to be decoded, by the headers', async () => {
    await embed(workers, { image: toBase64(await makePlainPng(300, 300)) })
    const response = await post(workers, { model: MODEL, input: { image: toBase64(await makePlainPng(3000, 3000)) } })
    expect(response.status).toBe(413)
    expect(await response.json()).toMatchObject({ error: { code: 'request_too_costly' } })
  })
})

describe('a client that goes away', () => {
  let workers: RunningWorkers
  beforeAll(async () => {
    workers = await startWorkers({ vars: { 'flava-edge': { CALL_GMAC: '0.001' } } })
  })
  afterAll(() => workers.stop())

  test('stops the calls that have not begun', async () => {
    const headers = { 'content-type': 'application/json', 'x-request-id': 'gone-1' }
    const outgoing = request(new URL('/v1/embeddings', workers.url).href, { method: 'POST', headers })
    const failure = new Promise((resolve) => outgoing.once('error', resolve))
    outgoing.end(JSON.stringify({ model: MODEL, input: Array(256).fill(LONG_TEXT) }))
    // The first of ten calls is over; the client leaves during one of the others.
    await workers.waitForLog(({ event, id }) => event === 'call' && id === 'gone-1')
    // By a reset: workerd's own HTTP server takes a plain close for a client that still reads.
    outgoing.socket?.resetAndDestroy()
    await failure
    const line = await workers.waitForLog(({ event, id }) => event === 'request' && id === 'gone-1')
    expect(line).toMatchObject({ status: 499, code: 'client_closed_request' })
    expect(line['calls']).toBeLessThan(10)
    await embed(workers, 'cat')
  })

  test('while it still sends its body is no fault of the service', async () => {
    const headers = { 'content-type': 'application/json', 'content-length': 1000, 'x-request-id': 'gone-2' }
    const outgoing = request(new URL('/v1/embeddings', workers.url).href, { method: 'POST', headers })
    const failure = new Promise((resolve) => outgoing.once('error', resolve))
    await new Promise((sent) => outgoing.write('{"model": ', sent))
    // A reset drops what was not read yet; once a later request is answered, this one's beginning has been read.
    await workers.fetch('/livez')
    outgoing.socket?.resetAndDestroy()
    await failure
    const line = await workers.waitForLog(({ event, id }) => event === 'request' && id === 'gone-2')
    expect(line).toMatchObject({ status: 499, code: 'client_closed_request' })
  })
})

describe('a limit that cannot be read', () => {
  test('closes the Worker that it is for instead of lifting the limit', async () => {
    const workers = await startWorkers({ vars: { 'flava-edge-pixels': { MAX_IMAGE_PIXELS: '12 million' } } })
    try {
      const response = await post(workers, { model: MODEL, input: { image: toBase64(await makePicture('png')) } })
      expect(response.status).toBe(503)
      const readiness = await workers.fetch('/readyz')
      expect(readiness.status).toBe(503)
      expect(await readiness.json()).toMatchObject({ workers: { pixels: { status: 'UNHEALTHY' } } })
      await embed(workers, 'cat')
    } finally {
      await workers.stop()
    }
  })
})

describe('a model package', () => {
  let directory: string
  beforeAll(() => {
    directory = mkdtempSync(join(tmpdir(), 'flava-package-'))
    cpSync('models/flava-emoji', directory, { recursive: true, filter: (path) => !path.includes('checkpoint') })
  })
  afterAll(() => rmSync(directory, { recursive: true }))

  test('with one flipped bit is refused by its hash: not ready, and no vector', async () => {
    const file = join(directory, 'text.safetensors')
    const bytes = readFileSync(file)
    const last = bytes.length - 1
    bytes[last] = (bytes[last] ?? 0) ^ 1
    writeFileSync(file, bytes)
    const workers = await startWorkers({ modelDirectory: { 'flava-edge-text': directory } })
    try {
      const readiness = await workers.fetch('/readyz')
      expect(readiness.status).toBe(503)
      expect(await readiness.json()).toMatchObject({
        status: 'UNHEALTHY',
        workers: {
          text_encoder: {
            status: 'UNHEALTHY',
            code: 'model_package_invalid',
            message: expect.stringContaining('sha256'),
          },
          image_encoder: { status: 'READY' },
        },
      })
      const response = await post(workers, { model: MODEL, input: 'cat' })
      expect(response.status).toBe(500)
      expect(await response.json()).toMatchObject({ error: { code: 'model_package_invalid' } })
      // Pictures have their own encoder, which is sound.
      await embed(workers, { image: toBase64(await makePicture('png')) })
    } finally {
      await workers.stop()
    }
  })

  test('that only one encoder got is never mixed with the other’s', async () => {
    const file = join(directory, 'config.json')
    cpSync('models/flava-emoji/text.safetensors', join(directory, 'text.safetensors'))
    const config = readFileSync(file, 'utf8').replace(/"space": "[0-9a-f]{16}"/, '"space": "0123456789abcdef"')
    writeFileSync(file, config)
    const workers = await startWorkers({ modelDirectory: { 'flava-edge-text': directory } })
    try {
      const response = await post(workers, {
        model: MODEL,
        input: ['cat', { image: toBase64(await makePicture('png')) }],
      })
      expect(response.status).toBe(503)
      expect(await response.json()).toMatchObject({ error: { code: 'worker_unavailable' } })
      expect((await workers.fetch('/readyz')).status).toBe(503)
    } finally {
      await workers.stop()
    }
  })
})

test('twenty concurrent first requests share one load and agree', async () => {
  const workers = await startWorkers({ vars: { 'flava-edge-text': { MAX_QUEUE: '32' } } })
  try {
    const bodies = await Promise.all(Array.from({ length: 20 }, () => embed(workers, 'cat')))
    const vectors = bodies.flatMap(vectorsOf)
    for (const vector of vectors) expect(vector).toEqual(vectors[0])
    const isLoad = ({ event, worker }: Record<string, unknown>) => event === 'model' && worker === 'text-encoder'
    await workers.waitForLog(isLoad)
    expect(workers.logLines.filter(isLoad)).toHaveLength(1)
  } finally {
    await workers.stop()
  }
})

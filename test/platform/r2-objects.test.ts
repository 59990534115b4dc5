// Objects in R2: streamed in and out, hashed on the way, refused when they are not what was said.

import { createHash } from 'node:crypto'
import { Log, LogLevel, Miniflare } from 'miniflare'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { bundleWorker } from './bundle-worker.ts'

const MIB = 1024 * 1024

let miniflare: Miniflare
let origin: string

beforeAll(async () => {
  const contents = await bundleWorker('objects-worker')
  miniflare = new Miniflare({
    host: '127.0.0.1',
    port: 0,
    cf: false,
    log: new Log(LogLevel.NONE),
    workers: [
      {
        config: {
          name: 'test-objects',
          compatibilityDate: '2026-10-01',
          manifest: {
            mainModule: 'objects-worker.js',
            modulesRoot: '/',
            modules: { 'objects-worker.js': { type: 'esm', contents } },
          },
          env: { FILES: { type: 'r2', name: 'files' } },
          exports: {},
        },
      },
    ],
  })
  origin = (await miniflare.ready).origin
})
afterAll(() => miniflare.dispose())

/** Bytes that differ from place to place, so that swapped pieces change the hash. */
function bytesOf(length: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(length)
  for (let index = 0; index < length; index += 1) bytes[index] = (index * 31 + (index >> 9)) % 251
  return bytes
}

function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex')
}

async function ask(
  method: string,
  path: string,
  body?: Uint8Array<ArrayBuffer>,
): Promise<{ status: number; json: unknown }> {
  const response = await fetch(origin + path, { method, ...(body === undefined ? {} : { body }) })
  return { status: response.status, json: await response.json() }
}

describe.each(['', '&js'])('an object from a stream%s', (how) => {
  test.each([0, 1, 5 * MIB, 8 * MIB, 8 * MIB + 1, 20 * MIB + 3])(
    'of %i bytes arrives whole and hashed',
    async (length) => {
      const body = bytesOf(length)
      const expected = { bytes: length, sha256: sha256(body) }
      for (const path of [`/sized?bytes=${length}${how}`, `/unsized?max=${length}${how}`]) {
        expect(await ask('PUT', path, body)).toEqual({ status: 200, json: expected })
        expect((await ask('POST', path)).json).toEqual(expected)
      }
      const read = await fetch(`${origin}/unsized`)
      expect(read.headers.get('x-bytes')).toBe(String(length))
      expect(sha256(new Uint8Array(await read.arrayBuffer()))).toBe(expected.sha256)
    },
  )

  test('of another length than was said is refused, and nothing is stored', async () => {
    const body = bytesOf(100_000)
    for (const bytes of [99_999, 100_001]) {
      expect(await ask('PUT', `/wrong?bytes=${bytes}${how}`, body)).toEqual({
        status: 400,
        json: { code: 'invalid_input' },
      })
    }
    expect((await ask('POST', '/wrong')).json).toBeNull()
  })

  test('longer than is allowed is refused, and nothing is stored', async () => {
    for (const length of [100_000, 9 * MIB]) {
      const answer = await ask('PUT', `/long?max=${length - 1}${how}`, bytesOf(length))
      expect(answer).toEqual({ status: 413, json: { code: 'body_too_large' } })
    }
    expect((await ask('POST', '/long')).json).toBeNull()
  })
})

test('a range is read without the rest, and tells how long the whole is', async () => {
  await ask('PUT', '/range?bytes=1000', bytesOf(1000))
  const read = await fetch(`${origin}/range?offset=10&length=5`)
  expect(new Uint8Array(await read.arrayBuffer())).toEqual(bytesOf(1000).subarray(10, 15))
  expect(read.headers.get('x-bytes')).toBe('1000')
  expect((await fetch(`${origin}/none`)).status).toBe(404)
})

test('deleting takes keys, and everything below a key that ends in a slash', async () => {
  for (const key of ['jobs/a/1/x', 'jobs/a/1/y/z', 'jobs/a/11/x', 'jobs/b', 'keep'])
    await ask('PUT', `/${key}?bytes=1`, bytesOf(1))
  const { json: left } = await ask('DELETE', '/?key=jobs/a/1/&key=jobs/b&key=nothing')
  expect(left).toEqual(expect.arrayContaining(['jobs/a/11/x', 'keep']))
  expect(left).not.toEqual(expect.arrayContaining([expect.stringMatching(/^jobs\/(a\/1\/|b$)/)]))
})

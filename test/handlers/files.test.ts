// /v1/files in workerd with its own R2: what comes in comes out, ranges, names, refusals, owners.

import { setImmediate } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { FileListSchema, FileSchema } from '../../src/handlers/files-schema.ts'
import {
  bearer,
  bodyOf,
  form,
  get,
  postForm,
  putFile,
  refusalOf,
  sha256,
  startKeyedWorkers,
  type Key,
} from '../files-client.ts'
import type { RunningWorkers } from '../harness.ts'

const MIB = 1024 * 1024

let workers: RunningWorkers
beforeAll(async () => {
  workers = await startKeyedWorkers()
})
afterAll(() => workers.stop())

/** Bytes that tell their place, so that a shifted range shows. */
function numberedBytes(length: number): Buffer {
  const bytes = Buffer.alloc(length)
  for (let offset = 0; offset + 4 <= length; offset += 4) bytes.writeUInt32LE(offset, offset)
  return bytes
}

const purpose = (content: string) => ({ name: 'purpose', content })
const file = (content: string | Uint8Array, filename = 'data.jsonl') => ({ name: 'file', content, filename })

describe('a file', () => {
  test('is described as OpenAI describes it, with its hash, and comes back byte for byte', async () => {
    const content = numberedBytes(300_001)
    const before = Math.floor(Date.now() / 1000)
    const created = await putFile(workers, content, { purpose: 'fine-tune' })
    expect(created).toEqual({
      id: expect.stringMatching(/^file-[0-9a-f]{24}$/),
      object: 'file',
      bytes: 300_001,
      created_at: expect.any(Number),
      expires_at: null,
      filename: 'data.jsonl',
      purpose: 'fine-tune',
      status: 'processed',
      x_flava: { sha256: sha256(content) },
    })
    expect(created.created_at).toBeGreaterThanOrEqual(before)
    expect(await bodyOf(await get(workers, `/v1/files/${created.id}`), 200)).toEqual(created)
    const download = await get(workers, `/v1/files/${created.id}/content`)
    expect(download.status).toBe(200)
    expect(Object.fromEntries(download.headers)).toMatchObject({
      'content-length': '300001',
      'content-type': 'application/octet-stream',
      'accept-ranges': 'bytes',
      'x-content-type-options': 'nosniff',
      etag: `"${sha256(content)}"`,
    })
    expect(sha256(Buffer.from(await download.arrayBuffer()))).toBe(sha256(content))
  })

  test('may come before its purpose, be empty, and say how long it is kept', async () => {
    const response = await postForm(
      workers,
      '/v1/files',
      form(
        file(''),
        purpose('batch'),
        { name: 'expires_after[anchor]', content: 'created_at' },
        { name: 'expires_after[seconds]', content: '7200' },
      ),
    )
    const created = FileSchema.parse(await bodyOf(response, 200))
    expect(created).toMatchObject({ bytes: 0, purpose: 'batch', expires_at: created.created_at + 7200 })
    const download = await get(workers, `/v1/files/${created.id}/content`)
    expect([download.status, await download.text()]).toEqual([200, ''])
  })

  test('of 40 MiB passes through, in pieces that R2 puts together', async () => {
    const content = numberedBytes(40 * MIB + 123)
    const created = await putFile(workers, content)
    expect(created).toMatchObject({ bytes: content.length, x_flava: { sha256: sha256(content) } })
    const tail = await get(workers, `/v1/files/${created.id}/content`, { headers: { range: 'bytes=-1000' } })
    expect(Buffer.from(await tail.arrayBuffer()).equals(content.subarray(-1000))).toBe(true)
  })

  test('that is deleted is gone, and deleting it again is a 404', async () => {
    const { id } = await putFile(workers, 'x')
    const response = await get(workers, `/v1/files/${id}`, { method: 'DELETE' })
    expect(await bodyOf(response, 200)).toEqual({ id, object: 'file', deleted: true })
    for (const [path, method] of [
      [`/v1/files/${id}`, 'GET'],
      [`/v1/files/${id}/content`, 'GET'],
      [`/v1/files/${id}`, 'DELETE'],
    ] as const) {
      expect(await refusalOf(await get(workers, path, { method }))).toMatchObject({
        status: 404,
        error: { code: 'not_found', type: 'not_found_error' },
      })
    }
  })
})

describe('a range', () => {
  const content = numberedBytes(10_000)
  let path: string
  beforeAll(async () => {
    const { id } = await putFile(workers, content)
    path = `/v1/files/${id}/content`
  })

  test.for([
    ['bytes=0-0', 0, 1],
    ['bytes=100-4099', 100, 4100],
    ['bytes=9990-', 9990, 10_000],
    ['bytes=-10', 9990, 10_000],
    ['bytes=9990-20000', 9990, 10_000],
  ] as const)('%s gives those bytes as 206', async ([range, from, to]) => {
    const response = await get(workers, path, { headers: { range } })
    expect(response.status).toBe(206)
    expect(response.headers.get('content-range')).toBe(`bytes ${from}-${to - 1}/10000`)
    expect(response.headers.get('content-length')).toBe(String(to - from))
    expect(Buffer.from(await response.arrayBuffer()).equals(content.subarray(from, to))).toBe(true)
  })

  test('behind the end is a 416 that tells the length', async () => {
    const response = await get(workers, path, { headers: { range: 'bytes=10000-' } })
    expect(response.headers.get('content-range')).toBe('bytes */10000')
    expect(await refusalOf(response)).toMatchObject({ status: 416, error: { code: 'range_not_satisfiable' } })
  })

  test('of another version than asked for gives the whole', async () => {
    const stale = await get(workers, path, { headers: { range: 'bytes=0-1', 'if-range': '"other"' } })
    expect([stale.status, (await stale.arrayBuffer()).byteLength]).toEqual([200, 10_000])
    const same = await get(workers, path, { headers: { range: 'bytes=0-1', 'if-range': `"${sha256(content)}"` } })
    expect([same.status, (await same.arrayBuffer()).byteLength]).toEqual([206, 2])
  })

  test('HEAD tells length and name without the bytes', async () => {
    const response = await get(workers, path, { method: 'HEAD' })
    expect([response.status, await response.text()]).toEqual([200, ''])
    expect(response.headers.get('content-length')).toBe('10000')
    expect(response.headers.get('content-disposition')).toContain('data.jsonl')
  })
})

test.for([
  ['../../../etc/passwd', 'passwd'],
  ['..\\\\..\\\\boot.ini', 'boot.ini'],
  ['a%22; filename=evil.html', 'a%22; filename=evil.html'],
  ['日本語 😀.jsonl', '日本語 😀.jsonl'],
  ['..', 'file'],
] as const)('the file name %s is kept as %s, never as a path, and is safe in a header', async ([filename, kept]) => {
  const { id, filename: told } = await putFile(workers, 'x', { filename })
  expect(told).toBe(kept)
  const { headers } = await get(workers, `/v1/files/${id}/content`)
  const header = headers.get('content-disposition') ?? ''
  expect(header).toMatch(
    /^attachment; filename="[\x20-\x21\x23-\x5b\x5d-\x7e]*"; filename\*=UTF-8''[A-Za-z0-9%._~!-]*$/,
  )
  expect(decodeURIComponent(header.slice(header.indexOf("''") + 2))).toBe(kept)
})

describe('what is refused', () => {
  test.for([
    ['without a file', form(purpose('batch')), 400, 'file'],
    ['with a file of another name', form(purpose('batch'), { name: 'data', content: 'x', filename: 'x' }), 400, 'file'],
    ['with two files', form(purpose('batch'), file('x'), file('y')), 400, null],
    ['without a purpose', form(file('x')), 400, 'purpose'],
    ['with a purpose of no file', form(file('x'), purpose('assistants')), 400, 'purpose'],
    ['with an output’s purpose', form(purpose('batch_output'), file('x')), 400, 'purpose'],
    [
      'with half an expiry',
      form(purpose('batch'), { name: 'expires_after[anchor]', content: 'created_at' }, file('x')),
      400,
      'expires_after',
    ],
    [
      'kept for less than an hour',
      form(
        purpose('batch'),
        { name: 'expires_after[anchor]', content: 'created_at' },
        { name: 'expires_after[seconds]', content: '60' },
        file('x'),
      ),
      400,
      'expires_after[seconds]',
    ],
    ['that ends in the middle', { ...form(file('x')), body: form(file('x')).body.subarray(0, -30) }, 400, null],
    ['that is not a form', { headers: { 'content-type': 'multipart/form-data' }, body: Buffer.from('x') }, 400, null],
    ['of another type', { headers: { 'content-type': 'application/json' }, body: Buffer.from('{}') }, 415, null],
  ] as const)('a request %s', async ([, request, status, param]) => {
    expect(await refusalOf(await postForm(workers, '/v1/files', request))).toMatchObject({ status, error: { param } })
  })

  test('leaves no file behind', async () => {
    const before = FileListSchema.parse(await bodyOf(await get(workers, '/v1/files'), 200))
    await postForm(workers, '/v1/files', form(file(numberedBytes(MIB)), purpose('nothing')))
    expect(await bodyOf(await get(workers, '/v1/files'), 200)).toEqual(before)
  })

  test('a file over 90 MiB, long before all of it was read, whether or not its length was announced', async () => {
    const piece = Buffer.alloc(MIB)
    let sent = 0
    const endless = new ReadableStream<Uint8Array>({
      start: (controller) => controller.enqueue(form(purpose('batch'), file('')).body.subarray(0, -40)),
      // A client that never looks up from writing meets the closed connection before the answer that was sent ahead of it.
      async pull(controller) {
        await setImmediate()
        sent += 1
        controller.enqueue(piece)
        if (sent === 400) controller.close()
      },
    })
    const response = await workers.fetch('/v1/files', {
      method: 'POST',
      headers: { ...form().headers, ...bearer('sk-one') },
      body: endless,
      duplex: 'half',
    })
    expect(await refusalOf(response)).toMatchObject({ status: 413, error: { code: 'body_too_large', param: 'file' } })
    expect(sent).toBeLessThan(200)
  })

  test.for([
    ['no key', undefined, 401],
    ['a key without the scope', 'sk-embed', 403],
  ] as const)('%s', async ([, key, status]) => {
    const response = await workers.fetch('/v1/files', { headers: key === undefined ? {} : bearer(key) })
    expect(response.status).toBe(status)
  })
})

describe('a list', () => {
  const key: Key = 'sk-two'
  const ids: string[] = []
  const list = async (query: string) =>
    FileListSchema.parse(await bodyOf(await get(workers, `/v1/files?${query}`, { key }), 200))

  beforeAll(async () => {
    for (const kind of ['batch', 'user_data', 'batch', 'batch'])
      ids.push((await putFile(workers, 'x', { purpose: kind, key })).id)
  })

  test('is of the project’s own files, the latest first', async () => {
    const all = await list('')
    expect(all.data.map(({ id }) => id)).toEqual(ids.toReversed())
    expect(all).toMatchObject({ object: 'list', first_id: ids[3], last_id: ids[0], has_more: false })
    expect((await list('order=asc')).data.map(({ id }) => id)).toEqual(ids)
  })

  test('comes in pages, and by purpose', async () => {
    const first = await list('limit=2&purpose=batch')
    expect(first.data.map(({ id }) => id)).toEqual([ids[3], ids[2]])
    expect(first.has_more).toBe(true)
    const second = await list(`limit=2&purpose=batch&after=${first.last_id}`)
    expect(second.data.map(({ id }) => id)).toEqual([ids[0]])
    expect(second.has_more).toBe(false)
  })

  test('of nothing is empty', async () => {
    expect(await list('purpose=fine-tune')).toEqual({
      object: 'list',
      data: [],
      first_id: null,
      last_id: null,
      has_more: false,
    })
  })

  test.for(['limit=0', 'limit=10001', 'limit=x', 'order=up'])('?%s is refused', async (query) => {
    expect((await get(workers, `/v1/files?${query}`, { key })).status).toBe(400)
  })

  test('may not begin after another project’s file, whose being there is not told', async () => {
    const other = await putFile(workers, 'x', { key: 'sk-one' })
    const theirs = await refusalOf(await get(workers, `/v1/files?after=${other.id}`, { key }))
    const nobodys = await refusalOf(await get(workers, `/v1/files?after=file-${'0'.repeat(24)}`, { key }))
    expect(theirs).toEqual(nobodys)
  })
})

test('another project’s key gets the same 404 as for a file that never was, and cannot delete it', async () => {
  const { id } = await putFile(workers, 'secret')
  const unknown = `file-${'0'.repeat(24)}`
  for (const [path, method] of [
    ['', 'GET'],
    ['/content', 'GET'],
    ['', 'DELETE'],
  ] as const) {
    const theirs = await get(workers, `/v1/files/${id}${path}`, { method, key: 'sk-two' })
    const nobodys = await get(workers, `/v1/files/${unknown}${path}`, { method, key: 'sk-two' })
    expect(theirs.status).toBe(404)
    expect(await theirs.json()).toEqual(await nobodys.json())
  }
  expect((await get(workers, `/v1/files/${id}`)).status).toBe(200)
})

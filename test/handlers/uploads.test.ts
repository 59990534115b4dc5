// /v1/uploads in workerd with its own R2: parts in any order and of any size, completed once.

import { createHash } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { UploadPartSchema, UploadSchema } from '../../src/handlers/uploads-schema.ts'
import {
  bodyOf,
  form,
  get,
  postForm,
  postJson,
  refusalOf,
  sha256,
  startKeyedWorkers,
  type Key,
} from '../files-client.ts'
import type { HttpResponse, RunningWorkers } from '../harness.ts'

const MIB = 1024 * 1024

let workers: RunningWorkers
beforeAll(async () => {
  workers = await startKeyedWorkers()
})
afterAll(() => workers.stop())

async function begin(bytes: number, more: object = {}): Promise<string> {
  const request = { filename: 'set.zip', purpose: 'fine-tune', bytes, mime_type: 'application/zip', ...more }
  return UploadSchema.parse(await bodyOf(await postJson(workers, '/v1/uploads', request), 200)).id
}

function send(upload: string, content: string | Uint8Array, key: Key = 'sk-one'): Promise<HttpResponse> {
  return postForm(workers, `/v1/uploads/${upload}/parts`, form({ name: 'data', content, filename: 'blob' }), key)
}

async function part(upload: string, content: string | Uint8Array): Promise<string> {
  const { id, upload_id: of } = UploadPartSchema.parse(await bodyOf(await send(upload, content), 200))
  expect(of).toBe(upload)
  return id
}

function complete(upload: string, partIds: string[], more: object = {}, key: Key = 'sk-one'): Promise<HttpResponse> {
  return postJson(workers, `/v1/uploads/${upload}/complete`, { part_ids: partIds, ...more }, key)
}

async function contentOf(fileId: string | undefined): Promise<string> {
  return (await get(workers, `/v1/files/${fileId}/content`)).text()
}

describe('an upload', () => {
  test('of parts sent in any order becomes the file that their list says', async () => {
    const upload = await begin(11, {
      filename: '../a/b/set.zip',
      expires_after: { anchor: 'created_at', seconds: 3600 },
    })
    const last = await part(upload, 'world')
    const first = await part(upload, 'hello')
    const unused = await part(upload, 'unused')
    const space = await part(upload, ' ')
    expect(unused).toMatch(/^part_[0-9a-f]{24}$/)
    const md5 = createHash('md5').update('hello world').digest('hex')
    const body = UploadSchema.parse(await bodyOf(await complete(upload, [first, space, last], { md5 }), 200))
    expect(body).toMatchObject({ id: upload, object: 'upload', status: 'completed', bytes: 11, filename: 'set.zip' })
    expect(body.file).toMatchObject({
      object: 'file',
      bytes: 11,
      filename: 'set.zip',
      purpose: 'fine-tune',
      x_flava: { sha256: sha256('hello world') },
    })
    expect(body.file?.expires_at).toBe((body.file?.created_at ?? 0) + 3600)
    expect(await contentOf(body.file?.id)).toBe('hello world')
  })

  test('that is completed again with the same parts is answered with the same file, and with others is refused', async () => {
    const upload = await begin(6)
    const [abc, def] = [await part(upload, 'abc'), await part(upload, 'def')]
    const first = UploadSchema.parse(await bodyOf(await complete(upload, [abc, def]), 200))
    expect(UploadSchema.parse(await bodyOf(await complete(upload, [abc, def]), 200))).toEqual(first)
    const conflict = { status: 409, error: { code: 'upload_state_conflict' } }
    expect(await refusalOf(await complete(upload, [def, abc]))).toMatchObject(conflict)
    expect((await refusalOf(await complete(upload, [abc, def], {}, 'sk-two'))).status).toBe(404)
  })

  test('of unequal parts, 30 MiB in all, keeps every byte', async () => {
    const sizes = [7 * MIB + 3, 1, 16 * MIB - 1, 7 * MIB]
    const parts = sizes.map((size, index) => Buffer.alloc(size, index + 1))
    const whole = Buffer.concat(parts)
    const upload = await begin(whole.length)
    const ids = await Promise.all(parts.map((content) => part(upload, content)))
    const body = UploadSchema.parse(await bodyOf(await complete(upload, ids), 200))
    expect(body.file).toMatchObject({ bytes: whole.length, x_flava: { sha256: sha256(whole) } })
  })

  test('whose parts have another length or hash than was said stays pending and may be completed rightly', async () => {
    const upload = await begin(6)
    const [abc, def, more] = [await part(upload, 'abc'), await part(upload, 'def'), await part(upload, 'more')]
    expect(await refusalOf(await complete(upload, [abc, more]))).toMatchObject({
      status: 400,
      error: { param: 'part_ids' },
    })
    const md5 = createHash('md5').update('abcdef').digest('hex').toUpperCase()
    expect(await refusalOf(await complete(upload, [def, abc], { md5 }))).toMatchObject({
      status: 400,
      error: { param: 'md5' },
    })
    const body = UploadSchema.parse(await bodyOf(await complete(upload, [abc, def], { md5 }), 200))
    expect(await contentOf(body.file?.id)).toBe('abcdef')
  })

  test('takes no part twice, no part of another upload, and none that never was', async () => {
    const upload = await begin(6)
    const other = await begin(3)
    const [mine, theirs] = [await part(upload, 'abc'), await part(other, 'def')]
    for (const ids of [[mine, mine], [mine, theirs], [mine, `part_${'0'.repeat(24)}`], []]) {
      expect(await refusalOf(await complete(upload, ids))).toMatchObject({
        status: 400,
        error: { code: 'invalid_input' },
      })
    }
  })

  test('is completed once: a further part and a cancel are final conflicts then', async () => {
    const upload = await begin(3)
    const id = await part(upload, 'abc')
    expect((await complete(upload, [id])).status).toBe(200)
    for (const response of [await send(upload, 'x'), await postJson(workers, `/v1/uploads/${upload}/cancel`, {})]) {
      expect(response.headers.get('x-should-retry')).toBe('false')
      expect(await refusalOf(response)).toMatchObject({ status: 409, error: { code: 'upload_state_conflict' } })
    }
  })

  test('completed by two at once becomes one file', async () => {
    const upload = await begin(3)
    const id = await part(upload, 'abc')
    const responses = await Promise.all([complete(upload, [id]), complete(upload, [id])])
    const [one, other] = await Promise.all(responses.map(async (response) => bodyOf(response, 200)))
    expect(UploadSchema.parse(one)).toEqual(UploadSchema.parse(other))
  })

  test('that was cancelled takes no part and is not completed', async () => {
    const upload = await begin(3)
    const id = await part(upload, 'abc')
    const body = await bodyOf(await postJson(workers, `/v1/uploads/${upload}/cancel`, {}), 200)
    expect(body).toMatchObject({ id: upload, status: 'cancelled', file: null })
    expect((await send(upload, 'x')).status).toBe(409)
    expect((await complete(upload, [id])).status).toBe(409)
  })

  test('of another project is a 404 for parts, completing and cancelling', async () => {
    const upload = await begin(3)
    const id = await part(upload, 'abc')
    const key: Key = 'sk-two'
    expect((await send(upload, 'x', key)).status).toBe(404)
    expect((await complete(upload, [id], {}, key)).status).toBe(404)
    expect((await postJson(workers, `/v1/uploads/${upload}/cancel`, {}, key)).status).toBe(404)
    expect((await complete(upload, [id])).status).toBe(200)
  })
})

describe('what is refused', () => {
  test.for([
    ['a purpose of no file', { purpose: 'vision' }, 'purpose'],
    ['no bytes', { bytes: 0 }, 'bytes'],
    ['more than 4 GiB', { bytes: 4 * 1024 ** 3 + 1 }, 'bytes'],
    ['no name', { filename: '' }, 'filename'],
    ['an expiry of a minute', { expires_after: { anchor: 'created_at', seconds: 60 } }, 'expires_after.seconds'],
  ] as const)('an upload with %s', async ([, change, param]) => {
    const request = { filename: 'a', purpose: 'batch', bytes: 1, mime_type: 'text/plain', ...change }
    expect(await refusalOf(await postJson(workers, '/v1/uploads', request))).toMatchObject({
      status: 400,
      error: { param },
    })
  })

  test('a part without data, and one of another form', async () => {
    const upload = await begin(3)
    const path = `/v1/uploads/${upload}/parts`
    expect(await refusalOf(await postForm(workers, path, form({ name: 'data', content: 'x' })))).toMatchObject({
      status: 400,
      error: { param: 'data' },
    })
    expect((await postJson(workers, path, { data: 'x' })).status).toBe(415)
  })

  test('a part over 64 MiB', async () => {
    const upload = await begin(3)
    expect(await refusalOf(await send(upload, Buffer.alloc(64 * MIB + 1)))).toMatchObject({
      status: 413,
      error: { code: 'body_too_large', param: 'data' },
    })
  })
})

// What is left in the bucket when an upload breaks off, is refused, cancelled or completed: nothing that no file names.

import { connect } from 'node:net'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { UploadPartSchema, UploadSchema } from '../../src/handlers/uploads-schema.ts'
import { bearer, bodyOf, form, get, postForm, postJson, putFile, startKeyedWorkers } from '../files-client.ts'
import type { RunningWorkers } from '../harness.ts'

const MIB = 1024 * 1024

let workers: RunningWorkers
beforeEach(async () => {
  workers = await startKeyedWorkers()
})
afterEach(() => workers.stop())

/** Everything in the bucket once the scheduled handler has cleared away what nothing names. */
async function keysLeft(): Promise<string[]> {
  await workers.runScheduled()
  const bucket = await workers.filesBucket()
  return (await bucket.list()).objects.map(({ key }) => key)
}

/** Sends the first part of a form as a client that dies then; resolves when the service has noticed. */
async function breakOff(path: string, name: string): Promise<void> {
  const { headers, body } = form({ name, content: Buffer.alloc(30 * MIB, 7), filename: 'big.bin' })
  const head = [
    `POST ${path} HTTP/1.1`,
    `host: ${workers.url.host}`,
    `authorization: ${bearer('sk-one').authorization}`,
    `content-type: ${headers['content-type']}`,
    `content-length: ${body.length}`,
  ]
  await new Promise<void>((resolve, reject) => {
    const socket = connect(Number(workers.url.port), workers.url.hostname, () => {
      socket.write(`${head.join('\r\n')}\r\n\r\n`)
      // Two of R2's parts are written by then, and a third is begun.
      socket.write(body.subarray(0, 20 * MIB), () => {
        socket.resetAndDestroy()
        resolve()
      })
    })
    socket.on('error', reject)
  })
  await workers.waitForLog(({ event, method, status }) => event === 'request' && method === 'POST' && status === 499)
}

async function begin(bytes: number): Promise<string> {
  const request = { filename: 'a', purpose: 'batch', bytes, mime_type: 'text/plain' }
  return UploadSchema.parse(await bodyOf(await postJson(workers, '/v1/uploads', request), 200)).id
}

async function part(upload: string, content: string): Promise<string> {
  const request = form({ name: 'data', content, filename: 'blob' })
  return UploadPartSchema.parse(await bodyOf(await postForm(workers, `/v1/uploads/${upload}/parts`, request), 200)).id
}

test('a file whose client dies half-way is not listed, and leaves no object', async () => {
  await breakOff('/v1/files', 'file')
  expect(await bodyOf(await get(workers, '/v1/files'), 200)).toMatchObject({ data: [] })
  expect(await keysLeft()).toEqual([])
})

test('a part whose client dies half-way leaves the upload as it was, and no object', async () => {
  const upload = await begin(5)
  const hello = await part(upload, 'hello')
  await breakOff(`/v1/uploads/${upload}/parts`, 'data')
  expect(await keysLeft()).toEqual([`uploads/${upload}/${hello}`])
  expect((await postJson(workers, `/v1/uploads/${upload}/complete`, { part_ids: [hello] })).status).toBe(200)
})

test('a file refused for what came after it leaves no object', async () => {
  const refused = form({ name: 'file', content: 'x', filename: 'x' }, { name: 'purpose', content: 'none' })
  expect((await postForm(workers, '/v1/files', refused)).status).toBe(400)
  expect(await keysLeft()).toEqual([])
})

test('a deleted file’s object goes, and no other', async () => {
  const [kept, deleted] = [await putFile(workers, 'kept'), await putFile(workers, 'deleted')]
  await get(workers, `/v1/files/${deleted.id}`, { method: 'DELETE' })
  expect(await keysLeft()).toEqual([`files/${kept.id}`])
})

test('the parts of a completed upload go, used or not, and its file stays', async () => {
  const upload = await begin(5)
  const [hello] = [await part(upload, 'hello'), await part(upload, 'unused')]
  const response = await postJson(workers, `/v1/uploads/${upload}/complete`, { part_ids: [hello] })
  const { file } = UploadSchema.parse(await bodyOf(response, 200))
  expect(await keysLeft()).toEqual([`files/${file?.id}`])
})

test('the parts of a cancelled upload go, and so does a file that failed its check of length or hash', async () => {
  const upload = await begin(5)
  const hello = await part(upload, 'hello')
  const wrong = { part_ids: [hello], md5: '0'.repeat(32) }
  expect((await postJson(workers, `/v1/uploads/${upload}/complete`, wrong)).status).toBe(400)
  expect(await keysLeft()).toEqual([`uploads/${upload}/${hello}`])
  await postJson(workers, `/v1/uploads/${upload}/cancel`, {})
  expect(await keysLeft()).toEqual([])
})

// The official openai client with files and uploads, against a listening socket, without an option of ours.

import { createHash, randomFillSync } from 'node:crypto'
import OpenAI, { BadRequestError, ConflictError, NotFoundError, toFile } from 'openai'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { startWorkers, type RunningWorkers } from '../harness.ts'

const MIB = 1024 * 1024

let workers: RunningWorkers
let client: OpenAI
beforeAll(async () => {
  workers = await startWorkers({ withoutEncoders: true })
  client = new OpenAI({ apiKey: 'not-needed-on-loopback', baseURL: new URL('/v1', workers.url).href, maxRetries: 0 })
})
afterAll(() => workers.stop())

test('files: create, retrieve, list, content, wait, delete', async () => {
  const file = await client.files.create({
    file: await toFile(Buffer.from('{"a":1}\n'), 'data.jsonl'),
    purpose: 'batch',
    expires_after: { anchor: 'created_at', seconds: 3600 },
  })
  expect(file).toMatchObject({
    object: 'file',
    bytes: 8,
    filename: 'data.jsonl',
    purpose: 'batch',
    status: 'processed',
  })
  expect(file.expires_at).toBe(file.created_at + 3600)
  expect(await client.files.retrieve(file.id)).toEqual(file)
  expect(await client.files.waitForProcessing(file.id)).toEqual(file)
  expect(await (await client.files.content(file.id)).text()).toBe('{"a":1}\n')
  expect(await client.files.delete(file.id)).toEqual({ id: file.id, object: 'file', deleted: true })
  await expect(client.files.retrieve(file.id)).rejects.toThrow(NotFoundError)
})

test('files: list goes through its pages by itself', async () => {
  const made: string[] = []
  for (const name of ['a', 'b', 'c', 'd', 'e']) {
    made.push((await client.files.create({ file: await toFile(Buffer.from(name), name), purpose: 'user_data' })).id)
  }
  const listed: string[] = []
  for await (const { id } of client.files.list({ purpose: 'user_data', limit: 2, order: 'asc' })) listed.push(id)
  expect(listed).toEqual(made)
})

test('uploads: parts in any order, completed with their MD5, downloaded as they were', async () => {
  const whole = randomFillSync(Buffer.alloc(9 * MIB + 17))
  const pieces = [whole.subarray(0, 4 * MIB), whole.subarray(4 * MIB, 4 * MIB + 1), whole.subarray(4 * MIB + 1)]
  const upload = await client.uploads.create({
    bytes: whole.length,
    filename: 'set.zip',
    mime_type: 'application/zip',
    purpose: 'fine-tune',
  })
  expect(upload).toMatchObject({ object: 'upload', status: 'pending', bytes: whole.length })
  const sent = new Map<number, string>()
  for (const index of [2, 0, 1]) {
    const data = await toFile(pieces[index] ?? Buffer.alloc(0), 'part')
    sent.set(index, (await client.uploads.parts.create(upload.id, { data })).id)
  }
  const md5 = createHash('md5').update(whole).digest('hex')
  const done = await client.uploads.complete(upload.id, {
    part_ids: [0, 1, 2].map((index) => sent.get(index) ?? ''),
    md5,
  })
  expect(done).toMatchObject({ status: 'completed', file: { bytes: whole.length, purpose: 'fine-tune' } })
  const content = await client.files.content(done.file?.id ?? '')
  expect(whole.equals(Buffer.from(await content.arrayBuffer()))).toBe(true)
  await expect(client.uploads.complete(upload.id, { part_ids: [sent.get(0) ?? ''] })).rejects.toThrow(ConflictError)
})

test('uploads: cancel', async () => {
  const { id } = await client.uploads.create({ bytes: 1, filename: 'a', mime_type: 'text/plain', purpose: 'batch' })
  expect(await client.uploads.cancel(id)).toMatchObject({ id, status: 'cancelled' })
})

test('a purpose that is not served is the client’s own BadRequestError, with the field', async () => {
  const refused = client.files.create({ file: await toFile(Buffer.from('x'), 'x'), purpose: 'vision' })
  await expect(refused).rejects.toThrow(BadRequestError)
  await expect(refused).rejects.toMatchObject({ status: 400, code: 'invalid_input', param: 'purpose' })
})

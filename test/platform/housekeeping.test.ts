// The scheduled handler of the real gateway: what nothing names leaves the bucket, what something names stays.

import { afterAll, beforeAll, expect, test } from 'vitest'
import { startWorkers, type RunningWorkers } from '../harness.ts'
import { newJob } from './broker-fixture.ts'

let workers: RunningWorkers

beforeAll(async () => {
  workers = await startWorkers({
    withoutEncoders: true,
    vars: { 'flava-edge': { TRASH_DELAY_SECONDS: '0.001', JOB_RESEND_SECONDS: '1' } },
  })
})
afterAll(() => workers.stop())

test('the scheduled handler deletes what is in the trash and nothing else', async () => {
  const [broker, bucket] = [await workers.broker(), await workers.filesBucket()]
  for (const key of ['files/file-a', 'files/file-b', 'uploads/upload_1/part_1']) await bucket.put(key, 'bytes')
  const file = { project: 'p', bytes: 5, sha256: 'a', filename: 'a', purpose: 'batch' as const, createdAtMs: 1 }
  for (const id of ['file-a', 'file-b']) await broker.createFile({ id, key: `files/${id}`, expiresAtMs: null, ...file })
  await broker.deleteFile('p', 'file-a')
  await broker.discardObjects(['uploads/upload_1/'])
  await workers.runScheduled()
  const { objects } = await bucket.list()
  expect(objects.map(({ key }) => key)).toEqual(['files/file-b'])
  expect((await broker.metrics()).trashObjects).toBe(0)
})

test('a job that was stored and never sent comes through the Queue all the same', async () => {
  const broker = await workers.broker()
  const job = newJob('batch', { project: 'p' })
  await broker.submit(job, { idempotencyKey: null, gpuSecondsBudget: null })
  const { events } = await broker.eventsAfter('p', job.id, 1, { limit: 10, waitMs: 25_000 })
  expect(events).toMatchObject([{ data: { type: 'state', state: 'queued' } }])
})

test('a Queue message that comes twice, and one that names no job, do no harm', async () => {
  const broker = await workers.broker()
  const job = newJob('batch', { project: 'p' })
  await broker.submit(job, { idempotencyKey: null, gpuSecondsBudget: null })
  await workers.sendToQueue(job.id, job.id, 'no job at all')
  await broker.eventsAfter('p', job.id, 1, { limit: 10, waitMs: 25_000 })
  expect(await broker.get('p', job.id)).toMatchObject({ state: 'queued' })
})

// What the broker keeps besides jobs: idempotency keys, files, uploads, models, usage; and how it all goes away again.

import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { FileRecord, OutputFile, UploadRecord } from '../../src/jobs/job.ts'
import type { JobBroker } from '../../src/jobs/ports.ts'
import {
  beat,
  codeOf,
  complete,
  fail,
  lease,
  leaseOne,
  newJob,
  PROJECT,
  queueJob,
  startBroker,
  TOKEN,
  type TestBroker,
} from './broker-fixture.ts'

const [HOUR_MS, DAY_MS] = [3_600_000, 86_400_000]
const OPTIONS = { idempotencyKey: null, gpuSecondsBudget: null }
const PAGE = { after: undefined, limit: 10, order: 'asc' as const }

let running: TestBroker
let broker: JobBroker

beforeAll(async () => {
  running = await startBroker({ TRASH_DELAY_SECONDS: '60' })
  broker = running.broker
})
afterAll(() => running.stop())

function file(id: string, more: Partial<FileRecord> = {}): FileRecord {
  const record = { bytes: 5, sha256: 'a'.repeat(64), filename: 'a.jsonl', purpose: 'batch' as const, createdAtMs: 1 }
  return { id, project: PROJECT, key: `files/${id}`, expiresAtMs: null, ...record, ...more }
}

/** Keys that are due for deletion after the delay. */
async function trashAfterDelay(): Promise<string[]> {
  await running.advance(60_001)
  return broker.trash(100)
}

describe('idempotency keys', () => {
  const request = { key: 'k', fingerprint: 'f' }
  const response = { status: 202, headers: { location: '/v1/jobs/1' }, body: '{"id":"1"}' }

  test('are in flight, then finished with an answer that is given again, each in its own project', async () => {
    expect(await broker.beginIdempotent('p1', request)).toEqual({ state: 'fresh', job: null })
    expect(await codeOf(broker.beginIdempotent('p1', request))).toBe('idempotency_key_in_flight')
    expect(await codeOf(broker.beginIdempotent('p1', { ...request, fingerprint: 'g' }))).toBe('idempotency_key_reused')
    expect(await broker.beginIdempotent('p2', { ...request, fingerprint: 'g' })).toMatchObject({ state: 'fresh' })
    await broker.finishIdempotent('p1', 'k', response)
    expect(await broker.beginIdempotent('p1', request)).toEqual({ state: 'finished', response })
    expect(await codeOf(broker.beginIdempotent('p1', { ...request, fingerprint: 'g' }))).toBe('idempotency_key_reused')
    await running.advance(24 * HOUR_MS)
    expect(await broker.beginIdempotent('p1', { ...request, fingerprint: 'g' })).toMatchObject({ state: 'fresh' })
  })

  test('of a request that made nothing are free again', async () => {
    await broker.beginIdempotent('p3', request)
    await broker.abandonIdempotent('p3', 'k')
    expect(await broker.beginIdempotent('p3', { ...request, fingerprint: 'g' })).toMatchObject({ state: 'fresh' })
  })

  test('of a request that broke off after it had made its job lead to that job, and never to a second', async () => {
    const key = { key: 'broken', fingerprint: 'f' }
    await broker.beginIdempotent(PROJECT, key)
    const job = newJob('multimodal.match')
    await broker.submit(job, { idempotencyKey: 'broken', gpuSecondsBudget: null })
    await broker.abandonIdempotent(PROJECT, 'broken')
    await running.advance(59_000)
    expect(await codeOf(broker.beginIdempotent(PROJECT, key))).toBe('idempotency_key_in_flight')
    await running.advance(1_001)
    expect(await broker.beginIdempotent(PROJECT, key)).toEqual({ state: 'fresh', job: job.id })
    const again = await broker.submit(newJob('multimodal.match'), { idempotencyKey: 'broken', gpuSecondsBudget: null })
    expect(again.id).toBe(job.id)
    await broker.cancel(PROJECT, job.id)
  })
})

describe('usage', () => {
  test('counts jobs, GPU seconds as they are used, tokens and images, by project and UTC day', async () => {
    const project = 'counted'
    await broker.countUsage(project, { requests: 2, tokens: 10, images: 1 })
    await queueJob(broker, newJob('batch', { project }))
    const held = await leaseOne(broker, 'a')
    await beat(broker, 'a', held, { gpu_seconds: 2.5 })
    await beat(broker, 'a', held, { sequence: 2, gpu_seconds: 4 })
    await beat(broker, 'a', held, { sequence: 2, gpu_seconds: 4 })
    const day = new Date(await running.clock()).toISOString().slice(0, 10)
    const range = { fromDay: day, toDay: day }
    expect(await broker.usage(project, range)).toEqual([
      { day, requests: 2, tokens: 10, images: 1, gpuSeconds: 4, jobs: 1 },
    ])
    await complete(broker, 'a', held, { usage: { gpu_seconds: 5, tokens: 7, images: 3 } })
    expect(await broker.usage(project, range)).toEqual([
      { day, requests: 2, tokens: 17, images: 4, gpuSeconds: 5, jobs: 1 },
    ])
    expect(await broker.usage('rival', range)).toEqual([])
    await running.advance(DAY_MS)
    await broker.countUsage(project, { requests: 1, tokens: 0, images: 0 })
    expect(await broker.usage(project, { fromDay: '2000-01-01', toDay: '2999-01-01' })).toHaveLength(2)
  })

  test('GPU seconds of a worker that was killed count, and a budget they use up refuses new jobs till next month', async () => {
    const project = 'poor'
    const options = { idempotencyKey: null, gpuSecondsBudget: 10 }
    const job = newJob('batch', { project })
    await broker.submit(job, options)
    await broker.markQueued([job.id])
    const held = await leaseOne(broker, 'a')
    await beat(broker, 'a', held, { gpu_seconds: 9 })
    await broker.submit(newJob('batch', { project }), options)
    await beat(broker, 'a', held, { sequence: 2, gpu_seconds: 11 })
    await expect(broker.submit(newJob('batch', { project }), options)).rejects.toMatchObject({
      code: 'gpu_budget_exceeded',
      status: 429,
      isFinal: true,
    })
    await expect(broker.submit(newJob('batch'), options)).resolves.toMatchObject({ state: 'stored' })
    const now = new Date(await running.clock())
    await running.advance(Date.UTC(now.getUTCFullYear(), now.getUTCMonth() + 1, 1) - now.getTime())
    await expect(broker.submit(newJob('batch', { project }), options)).resolves.toMatchObject({ state: 'stored' })
    await running.rows(
      `UPDATE jobs SET state = 'cancelled', ended_ms = ${await running.clock()} WHERE ended_ms IS NULL`,
    )
  })
})

describe('files', () => {
  test('belong to their project, are listed in order and by purpose, and go to the trash when deleted', async () => {
    for (const id of ['file-1', 'file-2', 'file-3'])
      await broker.createFile(file(id, { purpose: id === 'file-2' ? 'fine-tune' : 'batch' }))
    expect(await broker.getFile(PROJECT, 'file-1')).toEqual(file('file-1'))
    expect(await codeOf(broker.getFile('rival', 'file-1'))).toBe('not_found')
    expect(await codeOf(broker.deleteFile('rival', 'file-1'))).toBe('not_found')
    const list = async (more: object) =>
      (await broker.listFiles(PROJECT, { purpose: undefined, ...PAGE, ...more })).data
    expect((await list({})).map(({ id }) => id)).toEqual(['file-1', 'file-2', 'file-3'])
    expect((await list({ purpose: 'fine-tune' })).map(({ id }) => id)).toEqual(['file-2'])
    expect((await list({ order: 'desc', limit: 1, after: 'file-3' })).map(({ id }) => id)).toEqual(['file-2'])
    await broker.deleteFile(PROJECT, 'file-1')
    expect(await codeOf(broker.getFile(PROJECT, 'file-1'))).toBe('not_found')
    expect(await broker.trash(100)).not.toContain('files/file-1')
    expect(await trashAfterDelay()).toContain('files/file-1')
    await broker.emptyTrash(['files/file-1'])
    expect(await broker.trash(100)).not.toContain('files/file-1')
  })

  test('stay while a job that is not over reads them, even past their time', async () => {
    await broker.createFile(file('file-read', { expiresAtMs: (await running.clock()) + HOUR_MS }))
    const objects = [{ name: 'training.jsonl', bytes: 5, sha256: 'a'.repeat(64), key: 'files/file-read' }]
    const id = await queueJob(broker, newJob('batch', { objects }))
    expect(await codeOf(broker.deleteFile(PROJECT, 'file-read'))).toBe('file_in_use')
    await running.advance(2 * HOUR_MS)
    await broker.expire()
    expect(await trashAfterDelay()).not.toContain('files/file-read')
    const held = await leaseOne(broker, 'a')
    expect(held.objects).toEqual([{ name: 'training.jsonl', bytes: 5, sha256: 'a'.repeat(64) }])
    const holder = { worker: 'a', tokenId: TOKEN, job: id, fence: held.fence }
    expect(await broker.heldObjects(holder)).toEqual({ project: PROJECT, reads: objects })
    await fail(broker, 'a', held, { outcome: 'failed' })
    await broker.expire()
    expect(await trashAfterDelay()).toContain('files/file-read')
    // What it would read is gone, so it cannot be tried again.
    expect(await codeOf(broker.retry(PROJECT, id, { gpuSecondsBudget: null }))).toBe('job_state_conflict')
  })

  test('a job over a file that is being deleted is refused', async () => {
    await broker.createFile(file('file-gone'))
    await broker.deleteFile(PROJECT, 'file-gone')
    const objects = [{ name: 'a', bytes: 5, sha256: 'a'.repeat(64), key: 'files/file-gone' }]
    expect(await codeOf(broker.submit(newJob('batch', { objects }), OPTIONS))).toBe('not_found')
  })
})

describe('uploads', () => {
  const upload = (id: string, expiresAtMs: number): UploadRecord => ({
    id,
    project: PROJECT,
    status: 'pending',
    bytes: 10,
    filename: 'a.jsonl',
    mimeType: 'text/plain',
    purpose: 'batch',
    createdAtMs: 1,
    expiresAtMs,
    fileId: null,
    fileExpiresAfterSeconds: 7200,
  })
  const part = (id: string, uploadId: string) => ({ id, key: `uploads/${uploadId}/${id}`, bytes: 5, createdAtMs: 1 })

  test('become a file once, of the parts named and in that order', async () => {
    const [id, expiresAtMs] = ['upload_1', (await running.clock()) + HOUR_MS]
    expect(await broker.createUpload(upload(id, expiresAtMs))).toEqual(upload(id, expiresAtMs))
    await broker.announceObjects([part('part_1', id).key], HOUR_MS)
    for (const name of ['part_1', 'part_2', 'part_3']) await broker.addPart(PROJECT, id, part(name, id))
    expect((await broker.partsOf(PROJECT, id, ['part_3', 'part_1'])).map((row) => row.id)).toEqual(['part_3', 'part_1'])
    expect(await codeOf(broker.partsOf(PROJECT, id, ['part_1', 'part_1']))).toBe('invalid_input')
    expect(await codeOf(broker.partsOf(PROJECT, id, ['part_9']))).toBe('invalid_input')
    expect(await codeOf(broker.addPart('rival', id, part('part_4', id)))).toBe('not_found')
    const completion = { project: PROJECT, uploadId: id, partIds: ['part_3', 'part_1'] }
    expect(await broker.completedUpload(completion)).toBeUndefined()
    const done = await broker.completeUpload(completion, file('file-up'))
    expect(await broker.completedUpload(completion)).toMatchObject({ upload: done, file: { id: 'file-up' } })
    expect(await broker.completedUpload({ ...completion, project: 'rival' })).toBeUndefined()
    expect(done).toMatchObject({ status: 'completed', fileId: 'file-up', fileExpiresAfterSeconds: 7200 })
    expect(await codeOf(broker.completeUpload(completion, file('file-up2')))).toBe('upload_state_conflict')
    expect(await codeOf(broker.cancelUpload(PROJECT, id))).toBe('upload_state_conflict')
    expect(await trashAfterDelay()).toContain(`uploads/${id}/`)
    expect(await broker.getFile(PROJECT, 'file-up')).toMatchObject({ bytes: 5 })
  })

  test('that nobody completes expire, and take no more parts', async () => {
    await broker.createUpload(upload('upload_2', (await running.clock()) + HOUR_MS))
    await running.advance(HOUR_MS + 1)
    expect(await broker.getUpload(PROJECT, 'upload_2')).toMatchObject({ status: 'expired' })
    expect(await codeOf(broker.addPart(PROJECT, 'upload_2', part('part_5', 'upload_2')))).toBe('upload_state_conflict')
    await broker.expire()
    expect(await trashAfterDelay()).toContain('uploads/upload_2/')
  })
})

test('an announced object is trash only if nothing names it in time', async () => {
  await broker.announceObjects(['files/file-slow', 'files/file-lost'], 10_000)
  await broker.createFile(file('file-slow'))
  await broker.discardObjects(['files/file-slow'])
  expect(await broker.trash(100)).not.toContain('files/file-lost')
  await running.advance(10_001)
  const due = await broker.trash(100)
  expect(due).toContain('files/file-lost')
  expect(due).not.toContain('files/file-slow')
})

describe('what a finished job leaves', () => {
  const output = (job: string, name: string, fileId: string | null): OutputFile => ({
    name,
    bytes: 1,
    sha256: 'b'.repeat(64),
    key: `jobs/${job}/1/${name}`,
    fileId,
    filename: name,
    purpose: 'fine-tune-results',
  })

  test('files and a model come with its end, and each lives until nobody names it', async () => {
    const id = await queueJob(broker, newJob('fine_tuning'))
    const held = await leaseOne(broker, 'a', { kinds: ['fine_tuning'] })
    const outputs = [output(id, 'model/weights', 'file-weights'), output(id, 'result.json', null)]
    const model = { id: 'ft:x', project: PROJECT, base: 'flava-emoji', job: id, method: 'supervised', createdAtMs: 1 }
    const usage = { gpu_seconds: 0, tokens: 0, images: 0 }
    await broker.announceObjects(
      outputs.map(({ key }) => key),
      1_000,
    )
    const request = { worker: 'a', job: id, fence: held.fence, result: null, outputs: [], usage }
    const weights = { name: 'model/weights', bytes: 1, sha256: 'b'.repeat(64), key: `jobs/${id}/1/model/weights` }
    await broker.complete(request, TOKEN, outputs, { ...model, heads: [], labels: null, objects: [weights] })
    expect(await broker.getFile(PROJECT, 'file-weights')).toMatchObject({ key: weights.key })
    expect(await broker.getFineTunedModel(PROJECT, 'ft:x')).toMatchObject({ base: 'flava-emoji', objects: [weights] })
    expect(await codeOf(broker.getFineTunedModel('rival', 'ft:x'))).toBe('model_not_found')
    await broker.deleteFile(PROJECT, 'file-weights')
    expect(await trashAfterDelay()).not.toContain(weights.key)

    const user = await queueJob(
      broker,
      newJob('batch', { model: { id: 'ft:x', base: 'flava-emoji', objects: [weights] } }),
    )
    await broker.deleteFineTunedModel(PROJECT, 'ft:x')
    expect(await trashAfterDelay()).not.toContain(weights.key)
    const using = await leaseOne(broker, 'a')
    expect(using.model.objects).toEqual([{ name: 'model/weights', bytes: 1, sha256: 'b'.repeat(64) }])
    const holder = { worker: 'a', tokenId: TOKEN, job: user, fence: using.fence }
    expect((await broker.heldObjects(holder)).reads).toEqual([weights])
    await complete(broker, 'a', using)
    expect(await trashAfterDelay()).toContain(weights.key)
  })

  test('after its retention the job, its events and what it alone kept are gone; its files are not', async () => {
    const id = await queueJob(broker)
    const held = await leaseOne(broker, 'a')
    const outputs = [output(id, 'output.jsonl', 'file-out'), output(id, 'result.json', null)]
    const usage = { gpu_seconds: 0, tokens: 0, images: 0 }
    const request = { worker: 'a', job: id, fence: held.fence, result: null, outputs: [], usage }
    await broker.complete(request, TOKEN, outputs, null)
    const open = await queueJob(broker)
    const match = await queueJob(broker, newJob('multimodal.match'))
    await complete(broker, 'a', await leaseOne(broker, 'a', { kinds: ['multimodal.match'] }))
    expect(await running.rows(`SELECT input FROM jobs WHERE id = '${match}'`)).toEqual([{ input: null }])
    await running.advance(DAY_MS + 1)
    await broker.expire()
    expect(await codeOf(broker.get(PROJECT, match))).toBe('not_found')
    await running.advance(29 * DAY_MS - 1000)
    await broker.expire()
    expect(await broker.get(PROJECT, id)).toMatchObject({ state: 'succeeded' })
    await running.advance(1001)
    await broker.expire()
    expect(await codeOf(broker.get(PROJECT, id))).toBe('not_found')
    expect(await running.rows(`SELECT * FROM events WHERE job = '${id}'`)).toEqual([])
    const due = await trashAfterDelay()
    expect(due).toContain(`jobs/${id}/1/result.json`)
    expect(due).toContain(`jobs/${id}/input.json`)
    expect(due).not.toContain(`jobs/${id}/1/output.jsonl`)
    expect(await broker.getFile(PROJECT, 'file-out')).toMatchObject({ purpose: 'fine-tune-results' })
    expect(await broker.get(PROJECT, open)).toMatchObject({ state: 'queued' })
    await broker.cancel(PROJECT, open)
  })
})

test('metrics tell what waits now and how jobs ended since the beginning', async () => {
  const before = await broker.metrics()
  await queueJob(broker)
  await running.advance(5_000)
  await lease(broker, 'nobody', { kinds: ['multimodal.match'] })
  const during = await broker.metrics()
  expect(during.queueDepth['batch']).toBe(1)
  expect(during.oldestAgeSeconds).toBeGreaterThanOrEqual(5)
  expect(during.connectedWorkers).toBe(1)
  const held = await leaseOne(broker, 'a')
  expect((await broker.metrics()).leases).toBe(1)
  await running.advance(2_000)
  await complete(broker, 'a', held)
  const after = await broker.metrics()
  const succeeded = ({ ended }: typeof after) =>
    ended.find(({ kind, state }) => kind === 'batch' && state === 'succeeded')
  expect((succeeded(after)?.jobs ?? 0) - (succeeded(before)?.jobs ?? 0)).toBe(1)
  expect((succeeded(after)?.runSeconds ?? 0) - (succeeded(before)?.runSeconds ?? 0)).toBeGreaterThanOrEqual(2)
  expect((succeeded(after)?.waitSeconds ?? 0) - (succeeded(before)?.waitSeconds ?? 0)).toBeGreaterThanOrEqual(5)
  const counts = after.durationBuckets.filter(({ kind }) => kind === 'batch').map(({ count }) => count)
  expect(counts).toEqual(counts.toSorted((a, b) => a - b))
  expect(await running.rows("SELECT id FROM jobs WHERE state = 'running'")).toEqual([])
})

// POST /v1/worker/{urls,complete,heartbeat,fail}: what a worker may touch, and what is believed of what it brings.

import { request } from 'node:http'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { FileListSchema } from '../../src/handlers/files-schema.ts'
import type { JobKind } from '../../src/jobs/kinds.ts'
import { MAX_INLINE_BYTES, type Lease } from '../../src/jobs/worker-protocol.ts'
import { describe as describeObject, type FakeWorker } from '../fake-worker.ts'
import { bodyOf, get } from '../files-client.ts'
import { fileObject, refused, startWorkerBench, type WorkerBench } from '../worker-bench.ts'

let bench: WorkerBench
beforeAll(async () => {
  bench = await startWorkerBench()
})
afterAll(() => bench.workers.stop())
beforeEach(() => bench.clear())

const MATCH = { scores: [0.75] }

describe('URLs', () => {
  test('open the job’s own objects, and each only as it was signed', async () => {
    const objects = [await fileObject(bench, 'training.jsonl', 'row\n')]
    await bench.submit('fine_tuning', { objects })
    const holder = bench.worker()
    const lease = await holder.leaseOne()
    expect((await holder.read(lease, 'training.jsonl')).toString()).toBe('row\n')
    const [output] = await holder.write(lease, { 'model/config.json': '{}' })
    const bucket = await bench.workers.filesBucket()
    const stored = await bucket.get(`jobs/${lease.job}/${lease.fence}/model/config.json`)
    expect(await stored?.text()).toBe('{}')
    expect(output).toEqual(describeObject('model/config.json', Buffer.from('{}')))

    const {
      reads,
      writes,
      expires_in_seconds: life,
    } = await holder.urls(lease, {
      reads: ['training.jsonl'],
      writes: [describeObject('other', Buffer.from('x'))],
    })
    const [read, write] = [reads[0]?.url ?? '', writes[0]?.url ?? '']
    expect(life).toBe(900)
    const status = async (url: string, method: string): Promise<number> =>
      (await bench.send(url, { method, headers: {}, ...(method === 'PUT' ? { body: 'x' } : {}) })).status
    expect(await status(read, 'PUT')).toBe(403)
    expect(await status(write, 'GET')).toBe(403)
    expect(await status(read.replace(/files\/file-[0-9a-f]+/, `jobs/${lease.job}/1/other`), 'GET')).toBe(403)
  })

  test('of a job not held, of a former lease, and of other jobs’ objects are not signed', async () => {
    const secret = await fileObject(bench, 'secret.jsonl', 'secret', 'two')
    const theirs = await bench.submit('fine_tuning', { project: 'two', objects: [secret] })
    const holder = bench.worker()
    const theirLease = await holder.leaseOne()
    expect(theirLease.job).toBe(theirs)

    const stranger = bench.worker()
    const stale = { status: 409, code: 'stale_lease' }
    expect(await refused(stranger.urls(theirLease, { reads: ['secret.jsonl'] }))).toEqual(stale)
    expect(await refused(holder.urls({ ...theirLease, fence: theirLease.fence + 1 }, { reads: [] }))).toEqual(stale)
    // The same worker name under another token is another worker.
    const impostor = bench.worker({ id: holder.description.id }, await bench.mint())
    expect(await refused(impostor.urls(theirLease, { reads: ['secret.jsonl'] }))).toEqual(stale)
    expect(await refused(impostor.complete(theirLease, MATCH))).toEqual(stale)

    await bench.submit('fine_tuning')
    const mine = await stranger.leaseOne()
    expect(await refused(stranger.urls(mine, { reads: ['secret.jsonl'] }))).toEqual({ status: 404, code: 'not_found' })
    await holder.fail(theirLease, 'handed_back')
    expect(await refused(holder.urls(theirLease, { reads: ['secret.jsonl'] }))).toEqual(stale)
  })

  test.for(['../../files/x', '/etc/passwd', 'a//b', 'a/../b', 'A', '', 'a/b/c/d'])(
    'are not signed for the name %j',
    async (name) => {
      await bench.submit('fine_tuning')
      const holder = bench.worker()
      const lease = await holder.leaseOne()
      const written = { ...describeObject('x', Buffer.from('x')), name }
      expect(await refused(holder.urls(lease, { writes: [written] }))).toEqual({ status: 400, code: 'invalid_input' })
    },
  )
})

describe('a completion', () => {
  async function leased(kind: JobKind, holder: FakeWorker): Promise<Lease> {
    const id = await bench.submit(kind)
    const lease = await holder.leaseOne()
    expect(lease.job).toBe(id)
    return lease
  }

  test('counts once, and the very same one again is told so', async () => {
    const holder = bench.worker()
    const lease = await leased('multimodal.match', holder)
    expect(await holder.complete(lease, MATCH)).toEqual({ is_first: true })
    expect(await holder.complete(lease, MATCH)).toEqual({ is_first: false })
    expect(await bench.broker.get('one', lease.job)).toMatchObject({ state: 'succeeded', result: MATCH, outputs: [] })
  })

  test.for([
    ['another hash', { sha256: '0'.repeat(64) }, 'expected SHA-256'],
    ['another length', { bytes: 3 }, 'expected 3 bytes in the bucket, found 2'],
    ['an object that was never written', { name: 'nowhere' }, 'found none'],
  ] as const)('that claims %s is refused, and the job goes on', async ([, lie, words]) => {
    const holder = bench.worker()
    const lease = await leased('batch', holder)
    const [output] = await holder.write(lease, { 'output.jsonl': '{}' })
    const counts = { request_counts: { total: 1, completed: 1, failed: 0 } }
    const lying = output === undefined ? [] : [{ ...output, ...lie }]
    const call = holder.complete(lease, counts, { outputs: lying })
    await expect(call).rejects.toThrow(words)
    expect(await refused(call)).toEqual({ status: 422, code: 'output_mismatch' })
    expect((await bench.broker.get('one', lease.job)).state).toBe('running')
    expect(await holder.complete(lease, counts, { outputs: output === undefined ? [] : [output] })).toEqual({
      is_first: true,
    })
  })

  test('with a result of another kind of job is refused by its field', async () => {
    const holder = bench.worker()
    const lease = await leased('multimodal.match', holder)
    for (const result of [{}, { scores: [2] }, { scores: 'high' }, null]) {
      expect(await refused(holder.complete(lease, result))).toEqual({ status: 400, code: 'invalid_input' })
    }
    expect((await bench.broker.get('one', lease.job)).state).toBe('running')
  })

  test('may bring a long result as an object, which stays with the job, and no long one inline', async () => {
    const holder = bench.worker()
    const lease = await leased('multimodal.match', holder)
    const long = { scores: Array.from({ length: MAX_INLINE_BYTES / 8 }, (_, index) => index / MAX_INLINE_BYTES) }
    expect(await refused(holder.complete(lease, long))).toEqual({ status: 400, code: 'invalid_input' })
    expect(await holder.completeLong(lease, long)).toEqual({ is_first: true })
    const { result, outputs } = await bench.broker.get('one', lease.job)
    expect(result).toBeNull()
    expect(outputs).toMatchObject([{ name: 'result.json', fileId: null }])
    await bench.workers.runScheduled()
    expect(await (await bench.workers.filesBucket()).head(outputs[0]?.key ?? '')).not.toBeNull()
  })

  test('of a batch leaves its files to the project, and to no other', async () => {
    const holder = bench.worker()
    const lease = await leased('batch', holder)
    const outputs = await holder.write(lease, { 'output.jsonl': '{"a":1}\n', 'errors.jsonl': '{"b":2}\n' })
    await holder.complete(lease, { request_counts: { total: 2, completed: 1, failed: 1 } }, { outputs })
    const record = await bench.broker.get('one', lease.job)
    const ids = record.outputs.map(({ fileId }) => fileId)
    const list = FileListSchema.parse(
      await bodyOf(await get(bench.workers, '/v1/files?purpose=batch_output&order=asc'), 200),
    )
    expect(list.data.filter(({ id }) => ids.includes(id)).map(({ filename }) => filename)).toEqual([
      `${lease.job}_output.jsonl`,
      `${lease.job}_errors.jsonl`,
    ])
    expect(await (await get(bench.workers, `/v1/files/${ids[0]}/content`)).text()).toBe('{"a":1}\n')
    expect((await get(bench.workers, `/v1/files/${ids[0]}`, { key: 'sk-two' })).status).toBe(404)
  })
})

describe('a checkpoint', () => {
  test('is taken when it lies in the bucket as it says; one that lies costs no job its lease', async () => {
    await bench.submit('fine_tuning')
    const neighbour = await bench.submit('multimodal.match')
    const holder = bench.worker()
    const beside = await holder.leaseOne()
    const lease = await holder.leaseOne()
    expect(beside.job).toBe(neighbour)
    const objects = await holder.write(lease, { 'checkpoint/10.pt': 'state' })
    const lie = objects.map((object) => ({ ...object, sha256: '0'.repeat(64) }))
    const metrics = { loss: 1 }
    const { jobs } = await holder.heartbeatAll([
      { lease, facts: { checkpoint: { step: 10, objects: lie, metrics } } },
      { lease: beside, facts: { gpu_seconds: 2 } },
    ])
    expect(jobs).toMatchObject([
      { job: lease.job, is_held: true },
      { job: neighbour, is_held: true },
    ])
    expect(await bench.broker.get('one', neighbour)).toMatchObject({ usage: { gpuSeconds: 2 } })
    const page = { after: undefined, limit: 1, order: 'desc' as const }
    expect((await bench.broker.listCheckpoints('one', lease.job, page)).data).toEqual([])
    const [told] = (await bench.broker.listEvents('one', lease.job, page)).data
    expect(told?.data).toMatchObject({ type: 'log', level: 'warn' })
    expect(JSON.stringify(told?.data)).toContain('step 10 is not kept: checkpoint/10.pt: expected SHA-256')
    await holder.heartbeat(lease, { checkpoint: { step: 10, objects, metrics } })
    await holder.fail(lease, 'handed_back')
    const next = await bench.worker().leaseOne()
    expect(next).toMatchObject({ job: lease.job, fence: lease.fence + 1, resume: { step: 10, objects } })
  })

  test.for(['handed_back', 'paused', 'cancelled', 'failed', 'retry'] as const)(
    'that does not lie below this lease does not keep a lease from ending as %s',
    async (outcome) => {
      const id = await bench.submit('fine_tuning')
      const first = bench.worker()
      const before = await first.leaseOne()
      const objects = await first.write(before, { 'checkpoint/10.pt': 'state' })
      await first.fail(before, 'handed_back', { checkpoint: { step: 10, objects, metrics: {} } })
      const holder = bench.worker()
      const resumed = await holder.leaseOne()
      expect(resumed).toMatchObject({ job: id, resume: { step: 10 } })
      if (outcome === 'cancelled') await bench.broker.cancel('one', id)
      if (outcome === 'paused') await bench.broker.pause('one', id)
      // What it was resumed from is told again, under a lease that never wrote it.
      const { state } = await holder.fail(resumed, outcome, { checkpoint: resumed.resume, gpu_seconds: 7 })
      expect(state).toBe(outcome === 'handed_back' || outcome === 'retry' ? 'queued' : outcome)
      expect(await bench.broker.get('one', id)).toMatchObject({ state, usage: { gpuSeconds: 7 } })
      const page = { after: undefined, limit: 10, order: 'asc' as const }
      expect((await bench.broker.listCheckpoints('one', id, page)).data).toHaveLength(1)
    },
  )

  test('of a job that is not held is not looked at', async () => {
    await bench.submit('fine_tuning')
    const holder = bench.worker()
    const lease = await holder.leaseOne()
    const objects = await holder.write(lease, { 'checkpoint/10.pt': 'state' })
    const wrong = objects.map((object) => ({ ...object, sha256: '0'.repeat(64) }))
    const answer = await bench.worker().heartbeat(lease, { checkpoint: { step: 10, objects: wrong, metrics: {} } })
    expect(answer).toEqual({ job: lease.job, is_held: false, should_cancel: false, should_pause: false })
  })
})

test('a job leased to a worker that hung up while it waited is handed back at once, and no attempt is counted', async () => {
  const { description } = bench.worker()
  const headers = { authorization: `Bearer ${bench.token}`, 'x-flava-contract': '1', 'x-request-id': 'hung-up' }
  const outgoing = request(new URL('/v1/worker/lease', bench.workers.url).href, { method: 'POST', headers })
  const failure = new Promise((resolve) => outgoing.once('error', resolve))
  outgoing.end(JSON.stringify({ worker: description, max_jobs: 1, lease_ms: 600_000, wait_ms: 20_000 }))
  // The broker lists a worker once its request has come to wait.
  while (!(await bench.broker.listWorkers()).some(({ id }) => id === description.id)) continue
  // By a reset: workerd's own HTTP server takes a plain close for a client that still reads.
  outgoing.socket?.resetAndDestroy()
  await failure
  const job = await bench.submit()
  await bench.workers.waitForLog(({ event, id }) => event === 'request' && id === 'hung-up')
  expect(await bench.worker().leaseOne()).toMatchObject({ job, attempt: 1, fence: 2 })
})

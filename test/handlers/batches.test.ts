// /v1/batches and /v1/fine_tuning/jobs: what is refused, and to whom; keys for repetition; archives and spaces.

import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { gzipSync } from 'node:zlib'
import { BatchInputSchema, FineTuningInputSchema } from '../../src/jobs/job-work.ts'
import { FakeWorker, mintWorkerToken, sendTo } from '../fake-worker.ts'
import { bearer, putFile, startKeyedWorkers, type Key } from '../files-client.ts'
import type { RunningWorkers } from '../harness.ts'
import { call, errorOf, get, post, type JsonAnswer } from '../job-client.ts'

const MODEL = 'flava-emoji'
const BATCHES = '/v1/batches'
const FINE_TUNING = '/v1/fine_tuning/jobs'

let workers: RunningWorkers
let worker: FakeWorker

beforeAll(async () => {
  workers = await startKeyedWorkers({ withoutEncoders: false })
  const token = await mintWorkerToken(sendTo(workers.url), { headers: bearer('sk-root') })
  worker = new FakeWorker(sendTo(workers.url), token)
})
afterAll(() => workers.stop())

/** Ends what a test has left in the queue. */
beforeEach(async () => {
  const error = { code: 'left_over', message: 'left over', param: null, line: null }
  for (const lease of await worker.lease({ maxJobs: 32, waitMs: 0 })) await worker.fail(lease, 'failed', { error })
})

const line = (url: string, model: unknown = MODEL): string =>
  JSON.stringify({ custom_id: 'a', method: 'POST', url, body: { model, input: 'a cat' } })

async function fileOf(content: string | Uint8Array, purpose = 'batch'): Promise<string> {
  return (await putFile(workers, content, { purpose })).id
}

async function createBatch(
  content: string,
  {
    endpoint = '/v1/embeddings',
    headers = {},
    ...more
  }: { endpoint?: string; headers?: Record<string, string> } & Record<string, unknown> = {},
): Promise<JsonAnswer> {
  const request = { input_file_id: await fileOf(content), endpoint, completion_window: '24h', ...more }
  return post(workers, BATCHES, request, { ...bearer('sk-one'), ...headers })
}

async function createFineTuning(body: object = {}): Promise<JsonAnswer> {
  const file = await fileOf('{"text":"a","label":"b"}', 'fine-tune')
  return post(workers, FINE_TUNING, { model: MODEL, training_file: file, ...body }, bearer('sk-one'))
}

describe('a batch', () => {
  test('tells the worker the space of its vectors: that of the edge for embeddings, another for fused ones', async () => {
    const spaces: (string | null)[] = []
    for (const endpoint of ['/v1/embeddings', '/v1/multimodal/embeddings', '/v1/multimodal/match']) {
      expect((await createBatch(line(endpoint), { endpoint })).status).toBe(200)
      const lease = await worker.leaseOne()
      const input = BatchInputSchema.parse(await worker.input(lease))
      expect(input).toMatchObject({ endpoint, model: MODEL })
      spaces.push(input.space)
      await worker.complete(lease, { request_counts: { total: 0, completed: 0, failed: 0 } })
    }
    const model = await get(workers, `/v1/models/${MODEL}`, bearer('sk-one'))
    expect(model.body).toMatchObject({ x_flava: { space: spaces[0] } })
    expect(spaces[1]).toMatch(/^[0-9a-f]{16}$/)
    expect(spaces[1]).not.toBe(spaces[0])
    expect(spaces[2]).toBeNull()
  })

  test('leaves files that expire when it was asked to', async () => {
    const wanted = { output_expires_after: { anchor: 'created_at', seconds: 7200 } }
    const { body } = await createBatch(line('/v1/embeddings'), wanted)
    const lease = await worker.leaseOne()
    expect(lease.job).toBe(body.id)
    const outputs = await worker.write(lease, { 'output.jsonl': '{}\n' })
    await worker.complete(lease, { request_counts: { total: 1, completed: 1, failed: 0 } }, { outputs })
    const done = (await get(workers, `${BATCHES}/${lease.job}`, bearer('sk-one'))).body
    const file = (await get(workers, `/v1/files/${String(done['output_file_id'])}`, bearer('sk-one'))).body
    expect(Number(file['expires_at']) - Number(file['created_at'])).toBe(7200)
    const refused = await createBatch(line('/v1/embeddings'), { output_expires_after: { anchor: 'now', seconds: 1 } })
    expect([refused.status, errorOf(refused).param]).toEqual([400, 'output_expires_after.anchor'])
  })

  test('reads the model off a first line that is longer than one piece of the stream', async () => {
    const body = { input: 'x'.repeat(3_000_000), model: MODEL }
    const long = JSON.stringify({ custom_id: 'a', method: 'POST', url: '/v1/embeddings', body })
    const answer = await createBatch(`${long}\n${line('/v1/embeddings')}\n`)
    expect([answer.status, answer.body.model]).toEqual([200, MODEL])
  })

  test('expires as its window says', async () => {
    for (const [window, seconds] of [
      ['1h', 3600],
      ['168h', 604_800],
    ] as const) {
      const { body } = await createBatch(line('/v1/embeddings'), { completion_window: window })
      expect(Number(body.expires_at) - Number(body.created_at)).toBe(seconds)
    }
  })

  test('is refused where the request or the file’s first line is wrong, by name', async () => {
    const good = line('/v1/embeddings')
    const cases: [
      content: string,
      more: Record<string, unknown>,
      status: number,
      code: string,
      param: string | null,
    ][] = [
      [good, { endpoint: '/v1/chat/completions' }, 400, 'invalid_input', 'endpoint'],
      [good, { completion_window: '0h' }, 400, 'invalid_input', 'completion_window'],
      [good, { completion_window: '169h' }, 400, 'invalid_input', 'completion_window'],
      [good, { completion_window: 24 }, 400, 'invalid_input', 'completion_window'],
      [good, { input_file_id: undefined }, 400, 'invalid_input', 'input_file_id'],
      [good, { input_file_id: `file-${'0'.repeat(24)}` }, 404, 'not_found', null],
      [good, { metadata: { a: 1 } }, 400, 'invalid_input', 'metadata.a'],
      [good, { x_flava: { max_runtime_seconds: 0 } }, 400, 'invalid_input', 'x_flava.max_runtime_seconds'],
      [line('/v1/multimodal/match'), {}, 400, 'invalid_input', 'input_file_id'],
      ['not json', {}, 400, 'invalid_input', 'input_file_id'],
      ['\n', {}, 400, 'invalid_input', 'input_file_id'],
      ['{"custom_id":"a"}', {}, 400, 'invalid_input', 'input_file_id'],
      [line('/v1/embeddings', 7), {}, 400, 'invalid_input', 'input_file_id'],
      [line('/v1/embeddings', 'gpt'), {}, 404, 'model_not_found', 'model'],
    ]
    for (const [content, more, status, code, param] of cases) {
      const answer = await createBatch(content, more)
      const got = errorOf(answer)
      expect({ content, more, status: answer.status, code: got.code, param: got.param }).toEqual({
        content,
        more,
        status,
        code,
        param,
      })
    }
    const wrongPurpose = await createBatch(good, { input_file_id: await fileOf(good, 'user_data') })
    expect([wrongPurpose.status, errorOf(wrongPurpose).param]).toEqual([400, 'input_file_id'])
    const theirs = (await putFile(workers, good, { purpose: 'batch', key: 'sk-two' })).id
    expect((await createBatch(good, { input_file_id: theirs })).status).toBe(404)
    const classify = await createBatch(line('/v1/multimodal/classify'), { endpoint: '/v1/multimodal/classify' })
    expect([classify.status, errorOf(classify).code]).toEqual([409, 'head_not_trained'])
  })

  test('is made once for an Idempotency-Key', async () => {
    const request = {
      input_file_id: await fileOf(line('/v1/embeddings')),
      endpoint: '/v1/embeddings',
      completion_window: '24h',
    }
    const headers = { ...bearer('sk-one'), 'idempotency-key': 'batch-1' }
    const first = await post(workers, BATCHES, request, headers)
    const again = await post(workers, BATCHES, request, headers)
    expect(again.body).toEqual(first.body)
    expect([first, again].map((answer) => answer.headers.get('idempotency-replayed'))).toEqual([null, 'true'])
    const other = await post(workers, BATCHES, { ...request, completion_window: '48h' }, headers)
    expect([other.status, errorOf(other).code]).toEqual([422, 'idempotency_key_reused'])
  })

  test('finalizes once every request is done, and is cancelled through /v1/jobs as well', async () => {
    const { body } = await createBatch(line('/v1/embeddings'))
    const lease = await worker.leaseOne()
    const counts = { total: 1, completed: 1, failed: 0 }
    await worker.heartbeat(lease, { progress: { done: 1, total: 1, unit: 'requests', eta_seconds: 0, counts } })
    const path = `${BATCHES}/${String(body.id)}`
    expect((await get(workers, path, bearer('sk-one'))).body).toMatchObject({
      status: 'finalizing',
      request_counts: counts,
    })
    await post(workers, `/v1/jobs/${String(body.id)}/cancel`, {}, bearer('sk-one'))
    const asked = (await get(workers, path, bearer('sk-one'))).body
    expect(asked).toMatchObject({ status: 'cancelling', cancelled_at: null })
    expect(asked['cancelling_at']).toBeGreaterThanOrEqual(Number(asked['in_progress_at']))
  })
})

describe('a fine-tuning job', () => {
  test('gives the worker its archives under names of ours, by what they hold', async () => {
    const tar = Buffer.alloc(1024)
    tar.write('ustar', 257)
    const archives = [Buffer.from('PK\u0003\u0004rest', 'latin1'), tar, gzipSync(tar)]
    const media = await Promise.all(archives.map((bytes) => fileOf(bytes, 'fine-tune')))
    const { status, body } = await createFineTuning({ x_flava: { media_files: media } })
    expect([status, body.x_flava]).toEqual([200, expect.objectContaining({ media_files: media })])
    const lease = await worker.leaseOne()
    const input = FineTuningInputSchema.parse(await worker.input(lease))
    expect(input.media).toEqual(['media/0.zip', 'media/1.tar', 'media/2.tar.gz'])
    for (const [i, name] of input.media.entries()) expect(await worker.read(lease, name)).toEqual(archives[i])
  })

  test('takes every method, with the hyperparameters that are its own', async () => {
    for (const [type, hyperparameters] of [
      ['supervised', { task: 'regression', n_epochs: 1 }],
      ['contrastive', { batch_size: 8 }],
      ['linear_probe', { l2: 0.5 }],
      ['pretrain', { checkpoint_every: 10 }],
    ] as const) {
      const answer = await createFineTuning({ method: { type, [type]: { hyperparameters } } })
      expect(answer.body).toMatchObject({ method: { type, [type]: { hyperparameters } } })
      const lease = await worker.leaseOne()
      expect(FineTuningInputSchema.parse(await worker.input(lease)).method).toMatchObject({ type, hyperparameters })
    }
  })

  test('is refused where the request is wrong, by name', async () => {
    const text = await fileOf('text', 'fine-tune')
    const cases: [body: object, status: number, code: string, param: string | null][] = [
      [{ model: 'gpt' }, 404, 'model_not_found', 'model'],
      [{ training_file: undefined }, 400, 'invalid_input', 'training_file'],
      [{ training_file: `file-${'0'.repeat(24)}` }, 404, 'not_found', null],
      [{ training_file: await fileOf('{}', 'batch') }, 400, 'invalid_input', 'training_file'],
      [{ validation_file: await fileOf('{}', 'user_data') }, 400, 'invalid_input', 'validation_file'],
      [{ x_flava: { media_files: [text] } }, 400, 'invalid_input', 'x_flava.media_files[0]'],
      [
        { x_flava: { media_files: Array.from({ length: 17 }, () => text) } },
        400,
        'invalid_input',
        'x_flava.media_files',
      ],
      [{ x_flava: { max_runtime_seconds: 604_801 } }, 400, 'invalid_input', 'x_flava.max_runtime_seconds'],
      [{ suffix: 'a b' }, 400, 'invalid_input', 'suffix'],
      [{ suffix: 'a'.repeat(65) }, 400, 'invalid_input', 'suffix'],
      [{ seed: -1 }, 400, 'invalid_input', 'seed'],
      [{ method: { type: 'dpo' } }, 400, 'invalid_input', 'method.type'],
      [
        { method: { type: 'supervised', supervised: { hyperparameters: { n_epochs: 0 } } } },
        400,
        'invalid_input',
        'method.supervised.hyperparameters.n_epochs',
      ],
      [
        { method: { type: 'contrastive', contrastive: { hyperparameters: { task: 'regression' } } } },
        400,
        'invalid_input',
        'method.contrastive.hyperparameters',
      ],
      [{ hyperparameters: { n_epochs: 'many' } }, 400, 'invalid_input', 'method.supervised.hyperparameters.n_epochs'],
      [{ hyperparameters: { n_epochs: 1 }, method: { type: 'contrastive' } }, 400, 'invalid_input', 'hyperparameters'],
      [{ integrations: [{ type: 'wandb', wandb: { project: 'p' } }] }, 400, 'invalid_input', 'integrations'],
      [{ metadata: { k: 'v'.repeat(513) } }, 400, 'invalid_input', 'metadata.k'],
    ]
    for (const [body, status, code, param] of cases) {
      const answer = await createFineTuning(body)
      const got = errorOf(answer)
      expect({ body, status: answer.status, code: got.code, param: got.param }).toEqual({ body, status, code, param })
    }
    const filtered = await get(workers, `${FINE_TUNING}?metadata[a]=b`, bearer('sk-one'))
    expect([filtered.status, errorOf(filtered).param]).toEqual([400, 'metadata'])
  })
})

test('another project’s key learns nothing of a batch or a fine-tuning job, and neither is the other', async () => {
  const batch = String((await createBatch(line('/v1/embeddings'))).body.id)
  const job = String((await createFineTuning()).body.id)
  const asked: [method: string, path: string, key: Key][] = [
    ['GET', `${BATCHES}/${batch}`, 'sk-two'],
    ['POST', `${BATCHES}/${batch}/cancel`, 'sk-two'],
    ...['', '/events', '/checkpoints'].map((path): [string, string, Key] => [
      'GET',
      `${FINE_TUNING}/${job}${path}`,
      'sk-two',
    ]),
    ...['cancel', 'pause', 'resume'].map((act): [string, string, Key] => [
      'POST',
      `${FINE_TUNING}/${job}/${act}`,
      'sk-two',
    ]),
    ['GET', `${BATCHES}/${job}`, 'sk-one'],
    ['GET', `${FINE_TUNING}/${batch}`, 'sk-one'],
    ['POST', `${FINE_TUNING}/${batch}/pause`, 'sk-one'],
    ['GET', `${BATCHES}/nonsense`, 'sk-one'],
  ]
  for (const [method, path, key] of asked) {
    const answer = await call(workers, method, path, { headers: bearer(key) })
    expect([path, answer.status, errorOf(answer).code]).toEqual([path, 404, 'not_found'])
  }
  for (const list of [BATCHES, FINE_TUNING]) {
    expect((await get(workers, list, bearer('sk-two'))).body).toMatchObject({ data: [], has_more: false })
  }
  expect((await get(workers, `${BATCHES}/${batch}`, bearer('sk-one'))).body).toMatchObject({ status: 'validating' })
})

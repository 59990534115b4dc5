// The official openai client driving files, batches and fine-tuning over a socket, a fake worker doing the work.

import OpenAI, { toFile, ConflictError, NotFoundError, BadRequestError } from 'openai'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { BatchInputSchema, FineTuningInputSchema } from '../../src/jobs/job-work.ts'
import { JobSchema } from '../../src/handlers/jobs-schema.ts'
import { sendTo, startFakeWorker, type FakeWorker } from '../fake-worker.ts'
import { startWorkers, type RunningWorkers } from '../harness.ts'
import { get, pngBase64, post } from '../job-client.ts'

const MODEL = 'flava-emoji'

let workers: RunningWorkers
let worker: FakeWorker
let client: OpenAI

beforeAll(async () => {
  workers = await startWorkers()
  worker = await startFakeWorker(sendTo(workers.url))
  client = new OpenAI({ apiKey: 'not-needed-on-loopback', baseURL: new URL('/v1', workers.url).href, maxRetries: 0 })
})
afterAll(() => workers.stop())

const ROWS = [
  { text: 'a smiling face', label: 'face' },
  { text: 'a red car', label: 'vehicle' },
]

async function dataSet(): Promise<string> {
  const lines = ROWS.map((row) => JSON.stringify(row)).join('\n')
  return (await client.files.create({ file: await toFile(Buffer.from(lines), 'rows.jsonl'), purpose: 'fine-tune' })).id
}

async function batchFile(endpoint: '/v1/embeddings' | '/v1/multimodal/match' = '/v1/embeddings'): Promise<string> {
  const lines = ['a', 'b'].map((text, i) =>
    JSON.stringify({ custom_id: `r${i}`, method: 'POST', url: endpoint, body: { model: MODEL, input: text } }),
  )
  return (
    await client.files.create({ file: await toFile(Buffer.from(lines.join('\n')), 'in.jsonl'), purpose: 'batch' })
  ).id
}

test('a batch goes from its file to its output and error files', async () => {
  const inputFile = await batchFile()
  const created = await client.batches.create({
    input_file_id: inputFile,
    endpoint: '/v1/embeddings',
    completion_window: '24h',
    metadata: { run: '1' },
  })
  expect(created).toMatchObject({
    object: 'batch',
    status: 'validating',
    endpoint: '/v1/embeddings',
    input_file_id: inputFile,
    completion_window: '24h',
    model: MODEL,
    metadata: { run: '1' },
    request_counts: { total: 0, completed: 0, failed: 0 },
    output_file_id: null,
    errors: null,
    x_flava: { engine: 'gpu' },
  })
  expect((created.expires_at ?? 0) - created.created_at).toBe(86_400)

  const lease = await worker.leaseOne()
  expect(lease).toMatchObject({ job: created.id, kind: 'batch' })
  const input = BatchInputSchema.parse(await worker.input(lease))
  const { body: model } = await get(workers, `/v1/models/${MODEL}`)
  expect(model).toMatchObject({ x_flava: { space: input.space } })
  expect((await worker.read(lease, input.input)).toString()).toContain('"custom_id":"r0"')
  const progress = {
    done: 1,
    total: 2,
    unit: 'requests',
    eta_seconds: 1,
    counts: { total: 2, completed: 1, failed: 0 },
  }
  await worker.heartbeat(lease, { progress })
  const running = await client.batches.retrieve(created.id)
  expect(running).toMatchObject({ status: 'in_progress', request_counts: { total: 2, completed: 1, failed: 0 } })
  expect(running.in_progress_at).toBeGreaterThanOrEqual(created.created_at)

  const outputs = await worker.write(lease, {
    'output.jsonl': '{"custom_id":"r0"}\n',
    'errors.jsonl': '{"custom_id":"r1"}\n',
  })
  await worker.complete(lease, { request_counts: { total: 2, completed: 1, failed: 1 } }, { outputs })
  const done = await client.batches.retrieve(created.id)
  expect(done).toMatchObject({ status: 'completed', request_counts: { total: 2, completed: 1, failed: 1 } })
  expect(done.completed_at).toBeGreaterThanOrEqual(created.created_at)
  expect(await (await client.files.content(done.output_file_id ?? '')).text()).toBe('{"custom_id":"r0"}\n')
  expect(await (await client.files.content(done.error_file_id ?? '')).text()).toBe('{"custom_id":"r1"}\n')
  expect(await client.files.retrieve(done.output_file_id ?? '')).toMatchObject({ purpose: 'batch_output' })
})

test('batches are listed page by page and cancelled before and while they run', async () => {
  const create = async () =>
    client.batches.create({ input_file_id: await batchFile(), endpoint: '/v1/embeddings', completion_window: '24h' })
  const first = await create()
  const second = await create()
  const ids: string[] = []
  for await (const { id } of client.batches.list({ limit: 1 })) ids.push(id)
  expect(ids.slice(0, 2)).toEqual([second.id, first.id])

  expect(await client.batches.cancel(second.id)).toMatchObject({
    status: 'cancelled',
    cancelled_at: expect.any(Number),
  })
  const lease = await worker.leaseOne()
  expect(lease.job).toBe(first.id)
  expect(await client.batches.cancel(first.id)).toMatchObject({ status: 'cancelling' })
  await worker.fail(lease, 'cancelled')
  expect(await client.batches.retrieve(first.id)).toMatchObject({ status: 'cancelled' })
  await expect(client.batches.cancel(first.id)).rejects.toThrow(ConflictError)
  await expect(client.batches.retrieve(`batch_${'0'.repeat(24)}`)).rejects.toThrow(NotFoundError)
})

test('a batch whose file is wrong fails with the line', async () => {
  const { id } = await client.batches.create({
    input_file_id: await batchFile(),
    endpoint: '/v1/embeddings',
    completion_window: '24h',
  })
  const error = { code: 'invalid_line', message: 'expected a custom_id', param: 'custom_id', line: 2 }
  await worker.fail(await worker.leaseOne(), 'failed', { error })
  const failed = await client.batches.retrieve(id)
  expect(failed).toMatchObject({
    status: 'failed',
    errors: { object: 'list', data: [error] },
    failed_at: expect.any(Number),
  })
})

test('a fine-tuning job goes from its data set to a model that classifies', async () => {
  const trainingFile = await dataSet()
  const created = await client.fineTuning.jobs.create({
    model: MODEL,
    training_file: trainingFile,
    validation_file: trainingFile,
    suffix: 'faces',
    seed: 7,
    method: { type: 'supervised', supervised: { hyperparameters: { n_epochs: 2 } } },
    metadata: { run: '1' },
  })
  expect(created).toMatchObject({
    object: 'fine_tuning.job',
    status: 'validating_files',
    model: MODEL,
    fine_tuned_model: null,
    training_file: trainingFile,
    validation_file: trainingFile,
    organization_id: 'local',
    seed: 7,
    hyperparameters: { n_epochs: 2, batch_size: 'auto', learning_rate_multiplier: 'auto' },
    method: { type: 'supervised', supervised: { hyperparameters: { n_epochs: 2, batch_size: 'auto' } } },
    result_files: [],
    error: null,
    integrations: [],
    metadata: { run: '1' },
  })

  const lease = await worker.leaseOne()
  const input = FineTuningInputSchema.parse(await worker.input(lease))
  expect(input).toMatchObject({
    seed: 7,
    method: { type: 'supervised', hyperparameters: { task: 'classification' } },
    media: [],
  })
  expect((await worker.read(lease, input.training)).toString()).toContain('a red car')
  expect((await worker.read(lease, input.validation ?? '')).toString()).toContain('a red car')
  const checkpoint = await worker.write(lease, { 'checkpoint-10/state.safetensors': 'state' })
  await worker.heartbeat(lease, {
    progress: { done: 10, total: 20, unit: 'steps', eta_seconds: 60 },
    events: [
      { type: 'log', level: 'info', message: 'begun' },
      { type: 'metrics', step: 10, values: { train_loss: 0.25 } },
    ],
    checkpoint: { step: 10, objects: checkpoint, metrics: { train_loss: 0.25 } },
  })
  const running = await client.fineTuning.jobs.retrieve(created.id)
  expect(running.status).toBe('running')
  const now = Date.now() / 1000
  expect(running.estimated_finish).toBeGreaterThan(now + 30)
  expect(running.estimated_finish).toBeLessThan(now + 90)

  const outputs = await worker.write(lease, {
    'model/config.json': '{}',
    'model/model.safetensors': 'weights',
    'metrics.csv': 'step,train_loss\n10,0.25\n',
  })
  const result = {
    model_objects: ['model/config.json', 'model/model.safetensors'],
    heads: ['classification'],
    labels: ['face', 'vehicle'],
    metrics: { valid_loss: 0.5 },
    trained_tokens: 12,
  }
  await worker.complete(lease, result, { outputs })
  const done = await client.fineTuning.jobs.retrieve(created.id)
  const digits = created.id.slice('ftjob-'.length, 'ftjob-'.length + 12)
  expect(done).toMatchObject({
    status: 'succeeded',
    fine_tuned_model: `ft:${MODEL}:faces:${digits}`,
    trained_tokens: 12,
    x_flava: { metrics: { valid_loss: 0.5 } },
  })
  expect(done.finished_at).toBeGreaterThanOrEqual(created.created_at)
  const contents = await Promise.all(done.result_files.map(async (id) => (await client.files.content(id)).text()))
  expect(contents).toEqual(['step,train_loss\n10,0.25\n', '{}', 'weights'])

  const events = []
  for await (const event of client.fineTuning.jobs.listEvents(created.id, { limit: 2 })) events.push(event)
  expect(events.at(0)).toMatchObject({ object: 'fine_tuning.job.event', level: 'info', data: { state: 'succeeded' } })
  expect(events.find(({ type }) => type === 'metrics')).toMatchObject({
    message: 'Step 10: train_loss=0.25',
    data: { step: 10, train_loss: 0.25 },
  })
  expect(events.some(({ message }) => message === 'begun')).toBe(true)
  const checkpoints = []
  for await (const one of client.fineTuning.jobs.checkpoints.list(created.id)) checkpoints.push(one)
  expect(checkpoints).toEqual([
    expect.objectContaining({
      object: 'fine_tuning.job.checkpoint',
      fine_tuning_job_id: created.id,
      step_number: 10,
      metrics: { step: 10, train_loss: 0.25 },
      fine_tuned_model_checkpoint: `${done.fine_tuned_model}:ckpt-step-10`,
    }),
  ])

  await classifyWith(done.fine_tuned_model ?? '')
  await continueFrom(done.fine_tuned_model ?? '', trainingFile)
})

/** The model's own files reach the worker, and its labels the caller. */
async function classifyWith(model: string): Promise<void> {
  const input = [{ text: 'a face' }, { image: await pngBase64() }]
  const waiting = post(workers, '/v1/multimodal/classify', { model, input, top_k: 1 }, { prefer: 'wait=20' })
  const lease = await worker.leaseOne()
  expect(lease.model).toMatchObject({ id: model, base: MODEL })
  expect(lease.model.objects.map(({ name }) => name)).toEqual(['model/config.json', 'model/model.safetensors'])
  expect((await worker.read(lease, 'model/model.safetensors')).toString()).toBe('weights')
  await worker.complete(lease, { items: [{ labels: [{ label: 'face', score: 0.75 }] }, { value: 2.5 }] })
  expect((await waiting).body).toMatchObject({
    data: [
      { object: 'classification', index: 0, labels: [{ label: 'face', score: 0.75 }] },
      { object: 'regression', index: 1, value: 2.5 },
    ],
    model,
  })
  const match = await post(workers, '/v1/multimodal/match', { model, pairs: [{ text: 'a', image: await pngBase64() }] })
  expect(match.body).toMatchObject({ error: { code: 'head_not_trained' } })
}

async function continueFrom(model: string, trainingFile: string): Promise<void> {
  const next = await client.fineTuning.jobs.create({ model, training_file: trainingFile })
  const lease = await worker.leaseOne()
  expect(lease.model).toMatchObject({ id: model, base: MODEL })
  expect((await worker.read(lease, 'model/config.json')).toString()).toBe('{}')
  await client.fineTuning.jobs.cancel(next.id)
  await worker.fail(lease, 'cancelled')
  expect(await client.fineTuning.jobs.retrieve(next.id)).toMatchObject({
    model,
    status: 'cancelled',
    fine_tuned_model: null,
  })
}

test('a fine-tuning job is paused and resumed, before and while it runs', async () => {
  const { id } = await client.fineTuning.jobs.create({ model: MODEL, training_file: await dataSet() })
  expect(await client.fineTuning.jobs.pause(id)).toMatchObject({ status: 'queued', x_flava: { state: 'paused' } })
  expect(await worker.lease({ waitMs: 0 })).toEqual([])
  expect(await client.fineTuning.jobs.resume(id)).toMatchObject({ status: 'queued', x_flava: { state: 'queued' } })
  const lease = await worker.leaseOne()
  expect(await client.fineTuning.jobs.pause(id)).toMatchObject({ status: 'running' })
  expect(await worker.heartbeat(lease)).toMatchObject({ should_pause: true, should_cancel: false })
  const objects = await worker.write(lease, { 'checkpoint-3/state.safetensors': 'state' })
  await worker.fail(lease, 'paused', { checkpoint: { step: 3, objects, metrics: {} } })
  expect(await client.fineTuning.jobs.retrieve(id)).toMatchObject({ status: 'queued', x_flava: { state: 'paused' } })
  await client.fineTuning.jobs.resume(id)
  const again = await worker.leaseOne()
  expect(again).toMatchObject({ job: id, resume: { step: 3, objects } })
  expect((await worker.read(again, 'checkpoint-3/state.safetensors')).toString()).toBe('state')
  await client.fineTuning.jobs.cancel(id)
  await worker.fail(again, 'cancelled')
  for (const act of ['cancel', 'pause', 'resume'] as const) {
    await expect(client.fineTuning.jobs[act](id)).rejects.toThrow(ConflictError)
  }
})

test('the old field for hyperparameters is taken, and jobs are listed newest first', async () => {
  const file = await dataSet()
  const old = await client.fineTuning.jobs.create({
    model: MODEL,
    training_file: file,
    hyperparameters: { n_epochs: 3, batch_size: 4 },
  })
  expect(old).toMatchObject({
    hyperparameters: { n_epochs: 3, batch_size: 4, learning_rate_multiplier: 'auto' },
    method: { type: 'supervised' },
  })
  expect(Number.isInteger(old.seed)).toBe(true)
  const newer = await client.fineTuning.jobs.create({ model: MODEL, training_file: file })
  const ids: string[] = []
  for await (const { id } of client.fineTuning.jobs.list({ limit: 1 })) ids.push(id)
  expect(ids.slice(0, 2)).toEqual([newer.id, old.id])
  for (const id of [old.id, newer.id]) await client.fineTuning.jobs.cancel(id)
})

test('a fine-tuning job is a job under the same id, and a failed one says where its data is wrong', async () => {
  const { id } = await client.fineTuning.jobs.create({ model: MODEL, training_file: await dataSet() })
  const error = { code: 'invalid_data', message: 'line 2: expected a label', param: 'training_file', line: 2 }
  await worker.fail(await worker.leaseOne(), 'failed', { error })
  expect(await client.fineTuning.jobs.retrieve(id)).toMatchObject({ status: 'failed', error })
  const job = JobSchema.parse((await get(workers, `/v1/jobs/${id}`)).body)
  expect(job).toMatchObject({ id, kind: 'fine_tuning', status: 'failed', error })
  const other = `ftjob-${'0'.repeat(24)}`
  await expect(client.fineTuning.jobs.retrieve(other)).rejects.toThrow(NotFoundError)
  await expect(client.fineTuning.jobs.listEvents(other)).rejects.toThrow(NotFoundError)
  await expect(client.fineTuning.jobs.checkpoints.list(other)).rejects.toThrow(NotFoundError)
  await expect(client.fineTuning.jobs.create({ model: MODEL, training_file: 'file-none' })).rejects.toThrow(
    NotFoundError,
  )
  await expect(client.fineTuning.jobs.create({ model: MODEL, training_file: await batchFile() })).rejects.toThrow(
    BadRequestError,
  )
})

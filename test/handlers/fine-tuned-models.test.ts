// A model that a fine-tuning job has made: a model of its project in /v1/models, and files.

import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import type { Lease } from '../../src/jobs/worker-protocol.ts'
import type { FakeWorker } from '../fake-worker.ts'
import { bodyOf, get, refusalOf } from '../files-client.ts'
import { refused, startWorkerBench, type WorkerBench } from '../worker-bench.ts'

let bench: WorkerBench
beforeAll(async () => {
  bench = await startWorkerBench()
})
afterAll(() => bench.workers.stop())
beforeEach(() => bench.clear())

const RESULT = {
  model_objects: ['model/config.json', 'model/model.safetensors'],
  heads: ['contrastive'],
  labels: null,
  metrics: { train_loss: 0.5 },
  trained_tokens: 10,
}
let holder: FakeWorker
let lease: Lease
let id: string

beforeEach(async () => {
  await bench.submit('fine_tuning')
  holder = bench.worker()
  lease = await holder.leaseOne()
  const outputs = await holder.write(lease, {
    'model/config.json': '{}',
    'model/model.safetensors': 'weights',
    'metrics.csv': 'step,loss\n',
  })
  await holder.complete(lease, RESULT, { outputs })
  id = `ft:flava-emoji:mine:${lease.job.slice('ftjob-'.length, 'ftjob-'.length + 12)}`
})

test('whose result names what is not among the outputs is refused', async () => {
  await bench.submit('fine_tuning')
  const other = await holder.leaseOne()
  const outputs = await holder.write(other, { 'model/config.json': '{}' })
  expect(await refused(holder.complete(other, RESULT, { outputs }))).toEqual({ status: 400, code: 'invalid_input' })
})

test('is the project’s own: shown to it, and a 404 to others', async () => {
  const path = `/v1/models/${encodeURIComponent(id)}`
  const model = {
    id,
    object: 'model',
    created: expect.any(Number),
    owned_by: 'one',
    x_flava: {
      base: 'flava-emoji',
      job: lease.job,
      method: 'contrastive',
      heads: ['contrastive'],
      labels: null,
      bytes: 9,
    },
  }
  expect(await bodyOf(await get(bench.workers, path), 200)).toEqual(model)
  for (const method of ['GET', 'DELETE']) {
    expect(await refusalOf(await get(bench.workers, path, { key: 'sk-two', method }))).toMatchObject({
      status: 404,
      error: { code: 'model_not_found' },
    })
  }
  expect((await bench.broker.listFineTunedModels('two')).map((one) => one.id)).not.toContain(id)
})

test('keeps its objects when its files are deleted, and they go with both', async () => {
  const bucket = await bench.workers.filesBucket()
  const weights = `jobs/${lease.job}/${lease.fence}/model/model.safetensors`
  const { outputs } = await bench.broker.get('one', lease.job)
  for (const { fileId } of outputs) await get(bench.workers, `/v1/files/${fileId}`, { method: 'DELETE' })
  await bench.workers.runScheduled()
  expect(await bucket.head(weights)).not.toBeNull()
  const response = await get(bench.workers, `/v1/models/${encodeURIComponent(id)}`, { method: 'DELETE' })
  expect(await bodyOf(response, 200)).toEqual({ id, object: 'model', deleted: true })
  await bench.workers.runScheduled()
  expect(await bucket.head(weights)).toBeNull()
})

test('the deployment’s own model cannot be deleted', async () => {
  const response = await get(bench.workers, '/v1/models/flava-emoji', { method: 'DELETE' })
  expect(await refusalOf(response)).toMatchObject({ status: 404, error: { code: 'model_not_found' } })
})

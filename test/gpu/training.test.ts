// Fine-tuning through the real service and the real worker: a head that answers afterwards, a bad line told by its number,
// a pause, and a worker killed between two checkpoints.

import OpenAI, { toFile } from 'openai'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { z } from 'zod'
import { startWorkers, type RunningWorkers } from '../harness.ts'
import { get, post } from '../job-client.ts'
import { mintToken, startGpuWorker, type GpuWorker } from './worker-process.ts'

const MODEL = 'flava-emoji'
const POLL_MS = 100
const TIMEOUT_MS = 240_000
/** Of the job that is paused and whose worker is killed: long enough for both, on a quick machine too. */
const EPOCHS = 80

let workers: RunningWorkers
let token: string
let worker: GpuWorker
let client: OpenAI

beforeAll(async () => {
  workers = await startWorkers()
  token = await mintToken(workers)
  worker = await startGpuWorker(workers, token, { id: 'first' })
  client = new OpenAI({ apiKey: 'not-needed-on-loopback', baseURL: new URL('/v1', workers.url).href, maxRetries: 0 })
})
afterAll(async () => {
  await worker.stop()
  await workers.stop()
})

const MOODS = {
  happy: ['smile', 'laugh', 'joy', 'grin', 'party', 'sun'],
  sad: ['cry', 'tears', 'grief', 'rain', 'loss', 'pain'],
}
const ROWS = Object.entries(MOODS).flatMap(([label, words]) =>
  words.map((word) => JSON.stringify({ text: `a face with ${word}`, label })),
)

test(
  'a supervised job leaves metrics, checkpoints and a model that classifies',
  async () => {
    const { id } = await fineTune(ROWS, { n_epochs: 12, batch_size: 4, checkpoint_every: 12 })
    const job = await untilEnded(id)
    expect(job).toMatchObject({ status: 'succeeded', error: null })
    const { data: checkpoints } = await client.fineTuning.jobs.checkpoints.list(id)
    expect(checkpoints.length).toBeGreaterThan(0)
    const { data: events } = await client.fineTuning.jobs.listEvents(id, { limit: 100 })
    expect(events.some(({ type }) => type === 'metrics')).toBe(true)
    const answer = await post(
      workers,
      '/v1/multimodal/classify',
      { model: job.fine_tuned_model, input: [{ text: 'a face with joy' }, { text: 'a face with tears' }], top_k: 1 },
      { prefer: 'wait=20' },
    )
    const labels = z
      .array(z.object({ labels: z.array(z.object({ label: z.string(), score: z.number() })).length(1) }))
      .parse(answer.body.data)
    expect(labels.map(({ labels: [best] }) => best?.label)).toEqual(['happy', 'sad'])
  },
  TIMEOUT_MS,
)

test(
  'a row that cannot be used ends the job for good, with its line',
  async () => {
    const { id } = await fineTune([...ROWS, '{"text": "no label here"}'], { n_epochs: 1 })
    const job = await untilEnded(id)
    expect(job.status).toBe('failed')
    expect(job.error?.message).toContain(`line ${ROWS.length + 1}`)
  },
  TIMEOUT_MS,
)

test(
  'a job that is paused goes on from its checkpoint, and one whose worker is killed does too',
  async () => {
    const { id } = await fineTune(ROWS, { n_epochs: EPOCHS, batch_size: 4, checkpoint_every: 20 })
    await until(async () => (await stepOf(id)) >= 20)
    await client.fineTuning.jobs.pause(id)
    await until(async () => (await stateOf(id)) === 'paused')
    const paused = await stepOf(id)
    await client.fineTuning.jobs.resume(id)
    await until(async () => (await stepOf(id)) > paused)
    await worker.kill()
    worker = await startGpuWorker(workers, token, { id: 'second' })
    const job = await untilEnded(id)
    expect(job.status).toBe('succeeded')
    const { data: events } = await client.fineTuning.jobs.listEvents(id, { limit: 100 })
    const steps = events.flatMap(({ message }) => /checkpoint of step (\d+)/.exec(message)?.[1] ?? [])
    expect(steps.map(Number).some((step) => step >= paused)).toBe(true)
    expect(await stepOf(id)).toBe((EPOCHS * ROWS.length) / 4)
  },
  TIMEOUT_MS,
)

test(
  'a resumed job that is handed back before it has a checkpoint of its own counts no attempt and goes on later',
  async () => {
    const { id } = await fineTune(ROWS, { n_epochs: EPOCHS * 10, batch_size: 4, checkpoint_every: 20 })
    await until(async () => (await stepOf(id)) >= 20)
    await client.fineTuning.jobs.pause(id)
    await until(async () => (await stateOf(id)) === 'paused')
    const [paused, attempts] = [await stepOf(id), await attemptsOf(id)]
    await client.fineTuning.jobs.resume(id)
    await until(async () => (await stateOf(id)) === 'running')
    expect(await worker.stop()).toBe(0) // PyTorch is still being imported: no step is done
    expect(await stateOf(id)).toBe('queued')
    expect(await attemptsOf(id)).toBe(attempts)
    expect(await stepOf(id)).toBe(paused)
    worker = await startGpuWorker(workers, token, { id: 'third' })
    await until(async () => (await stepOf(id)) > paused)
    await client.fineTuning.jobs.cancel(id)
    await until(async () => (await stateOf(id)) === 'cancelled')
  },
  TIMEOUT_MS,
)

async function attemptsOf(id: string): Promise<unknown> {
  return (await get(workers, `/v1/jobs/${id}`)).body.attempts
}

async function fineTune(
  rows: readonly string[],
  hyperparameters: Record<string, number>,
): Promise<OpenAI.FineTuning.FineTuningJob> {
  const file = await client.files.create({
    file: await toFile(Buffer.from(rows.join('\n')), 'moods.jsonl'),
    purpose: 'fine-tune',
  })
  return client.fineTuning.jobs.create({
    model: MODEL,
    training_file: file.id,
    seed: 1,
    method: { type: 'supervised', supervised: { hyperparameters } },
  })
}

async function untilEnded(id: string): Promise<OpenAI.FineTuning.FineTuningJob> {
  await until(async () =>
    ['succeeded', 'failed', 'cancelled'].includes((await client.fineTuning.jobs.retrieve(id)).status),
  )
  return client.fineTuning.jobs.retrieve(id)
}

/** Of the newest checkpoint, 0 before the first. */
async function stepOf(id: string): Promise<number> {
  const { data } = await client.fineTuning.jobs.checkpoints.list(id)
  return Math.max(0, ...data.map(({ step_number: step }) => step))
}

async function stateOf(id: string): Promise<unknown> {
  return (await get(workers, `/v1/jobs/${id}`)).body.status
}

/** Asks again until it holds; the test's own time limit ends it. */
async function until(holds: () => Promise<boolean>): Promise<void> {
  while (!(await holds())) await new Promise((again) => setTimeout(again, POLL_MS))
}

// The real worker process against the real service: multimodal calls, a batch, fine-tuning, and a worker killed in the
// middle of its job. One service and as few starts of PyTorch as will do.

import OpenAI, { toFile } from 'openai'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { z } from 'zod'
import { startWorkers, type RunningWorkers } from '../harness.ts'
import { get, pngBase64, post } from '../job-client.ts'
import { mintToken, startGpuWorker, type GpuWorker } from './worker-process.ts'

const MODEL = 'flava-emoji'
const WAIT = { prefer: 'wait=20' }
const POLL_MS = 100

const OutputLineSchema = z.object({
  custom_id: z.string(),
  response: z.object({
    status_code: z.literal(200),
    body: z.object({
      data: z.array(z.object({ embedding: z.array(z.number()) })),
      x_flava: z.object({ engine: z.literal('gpu'), space: z.string() }),
    }),
  }),
})

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

test('a match with Prefer: wait is answered by the worker, each pair of a matrix as it is alone', async () => {
  const [one, two] = [await pngBase64(1), await pngBase64(2)]
  const texts = ['a dog', 'a red heart in the snow']
  const matrix = await post(workers, '/v1/multimodal/match', { model: MODEL, images: [one, two], texts }, WAIT)
  expect(matrix.status).toBe(200)
  expect(matrix.body).toMatchObject({ object: 'list', model: MODEL, x_flava: { engine: 'gpu' }, usage: { images: 2 } })
  const rows = z.array(z.object({ scores: z.array(z.number()) })).parse(matrix.body.data)
  const alone = await post(
    workers,
    '/v1/multimodal/match',
    { model: MODEL, pairs: [{ image: two, text: texts[1] }] },
    WAIT,
  )
  const [pair] = z.array(z.object({ score: z.number() })).parse(alone.body.data)
  expect(pair?.score).toBeCloseTo(rows[1]?.scores[1] ?? Number.NaN, 5)
})

test('fused vectors have unit length and masked words come best first', async () => {
  const image = await pngBase64(1)
  const embedded = await post(
    workers,
    '/v1/multimodal/embeddings',
    { model: MODEL, input: { image, text: 'a dog' } },
    WAIT,
  )
  const [item] = z.array(z.object({ embedding: z.array(z.number()) })).parse(embedded.body.data)
  expect(Math.hypot(...(item?.embedding ?? []))).toBeCloseTo(1, 5)
  const filled = await post(
    workers,
    '/v1/multimodal/fill-mask',
    { model: MODEL, input: { text: 'a [MASK] heart' } },
    WAIT,
  )
  const candidates = z.array(z.object({ token: z.string(), score: z.number() }))
  const [{ words } = { words: [] }] = z
    .array(z.object({ words: z.array(z.object({ position: z.int(), candidates })) }))
    .parse(filled.body.data)
  const scores = words[0]?.candidates.map(({ score }) => score) ?? []
  expect(words[0]?.position).toBe(2)
  expect(scores).toHaveLength(5)
  expect(scores).toEqual(scores.toSorted((a, b) => b - a))
})

test('a picture that cannot be decoded fails its job with the place that it stood in', async () => {
  const broken = (await pngBase64(1)).slice(0, 200)
  const { status, body } = await post(
    workers,
    '/v1/multimodal/match',
    { model: MODEL, images: [broken], texts: ['x'] },
    WAIT,
  )
  expect(status).toBe(422)
  expect(body.error).toMatchObject({ code: 'corrupt_image', param: 'images[0]' })
})

test('a batch of embeddings agrees with the edge, in the same space, and tells which lines failed', async () => {
  const texts = ['a dog', 'a red heart', 'a house in the snow']
  const lines = texts.map((input, i) => requestLine(`r${i}`, { input }))
  const batch = await runBatch([...lines, requestLine('r0', { input: 'again' }), requestLine('bad', { input: [] })])
  expect(batch).toMatchObject({ status: 'completed', request_counts: { total: 5, completed: 3, failed: 2 } })
  const answers = await readOutput(batch)
  expect(answers.map(({ custom_id }) => custom_id)).toEqual(['r0', 'r1', 'r2'])
  const edge = await client.embeddings.create({ model: MODEL, input: texts, encoding_format: 'float' })
  for (const [i, { response }] of answers.entries()) {
    expect(cosine(response.body.data[0]?.embedding ?? [], edge.data[i]?.embedding ?? [])).toBeGreaterThan(0.99)
  }
  const { body: model } = await get(workers, `/v1/models/${MODEL}`)
  expect(model).toMatchObject({ x_flava: { space: answers[0]?.response.body.x_flava.space } })
  const errors = await (await client.files.content(batch.error_file_id ?? '')).text()
  expect(
    errors
      .trim()
      .split('\n')
      .map((line) => z.object({ error: z.object({ line: z.int() }) }).parse(JSON.parse(line)).error.line),
  ).toEqual([4, 5])
})

test('a worker killed in the middle of a batch is replaced: every request is answered once, in order', async () => {
  const total = 2_000
  const lines = longLines(total)
  const { id } = await createBatch(lines)
  await until(async () => ((await client.batches.retrieve(id)).request_counts?.completed ?? 0) > 300)
  await worker.kill()
  worker = await startGpuWorker(workers, token, { id: 'second' })
  await until(async () => (await client.batches.retrieve(id)).status === 'completed')
  const batch = await client.batches.retrieve(id)
  expect(batch.request_counts).toEqual({ total, completed: total, failed: 0 })
  const text = await (await client.files.content(batch.output_file_id ?? '')).text()
  const answered = text
    .trim()
    .split('\n')
    .map((line) => z.object({ custom_id: z.string() }).parse(JSON.parse(line)).custom_id)
  expect(answered).toEqual(lines.map((_, i) => `r${i}`))
  const { body: job } = await get(workers, `/v1/jobs/${id}`)
  // A lease that left a checkpoint starts the count of attempts anew.
  expect(job).toMatchObject({ status: 'succeeded', attempts: 1 })
})

test('a worker that slept for longer than its lease finds its batch done by another, and drops what it has', async () => {
  const total = 1_000
  const { id } = await createBatch(longLines(total))
  await until(async () => ((await client.batches.retrieve(id)).request_counts?.completed ?? 0) > 0)
  worker.freeze()
  const other = await startGpuWorker(workers, token, { id: 'third' })
  await until(async () => (await client.batches.retrieve(id)).status === 'completed')
  const before = await client.batches.retrieve(id)
  worker.thaw()
  await until(() => Promise.resolve(worker.output.join('').includes(`${id}: the lease is lost`)))
  await other.stop()
  expect(await client.batches.retrieve(id)).toEqual(before)
  expect(before.request_counts).toEqual({ total, completed: total, failed: 0 })
  const { body: job } = await get(workers, `/v1/jobs/${id}`)
  expect(job).toMatchObject({ status: 'succeeded' })
  const image = await pngBase64(4)
  const answer = await post(workers, '/v1/multimodal/match', { model: MODEL, images: [image], texts: ['x'] }, WAIT)
  expect(answer.status).toBe(200) // by the one that slept, which goes on with the next job
})

test('interactive calls are answered while a batch runs', async () => {
  const { id } = await createBatch(longLines(6_000))
  await until(async () => ((await client.batches.retrieve(id)).request_counts?.completed ?? 0) > 0)
  const image = await pngBase64(3)
  const { status } = await post(workers, '/v1/multimodal/match', { model: MODEL, images: [image], texts: ['x'] }, WAIT)
  expect(status).toBe(200)
  expect((await client.batches.retrieve(id)).status).toBe('in_progress')
  await client.batches.cancel(id)
  await until(async () => (await client.batches.retrieve(id)).status === 'cancelled')
})

test('SIGTERM ends an idle worker at once and well', async () => {
  const started = Date.now()
  expect(await worker.stop()).toBe(0)
  expect(Date.now() - started).toBeLessThan(5_000)
})

function requestLine(customId: string, body: Record<string, unknown>): string {
  return JSON.stringify({ custom_id: customId, method: 'POST', url: '/v1/embeddings', body: { model: MODEL, ...body } })
}

/** Requests that take a few milliseconds each. */
function longLines(count: number): string[] {
  const texts = (i: number): string[] =>
    Array.from({ length: 8 }, (_, n) => `text ${n} of the request with number ${i}`)
  return Array.from({ length: count }, (_, i) => requestLine(`r${i}`, { input: texts(i), encoding_format: 'base64' }))
}

async function createBatch(lines: readonly string[]): Promise<OpenAI.Batch> {
  const file = await client.files.create({
    file: await toFile(Buffer.from(lines.join('\n')), 'in.jsonl'),
    purpose: 'batch',
  })
  return client.batches.create({ input_file_id: file.id, endpoint: '/v1/embeddings', completion_window: '24h' })
}

async function runBatch(lines: readonly string[]): Promise<OpenAI.Batch> {
  const { id } = await createBatch(lines)
  await until(async () => ['completed', 'failed'].includes((await client.batches.retrieve(id)).status))
  return client.batches.retrieve(id)
}

async function readOutput({ output_file_id: file }: OpenAI.Batch): Promise<z.infer<typeof OutputLineSchema>[]> {
  const text = await (await client.files.content(file ?? '')).text()
  return text
    .trim()
    .split('\n')
    .map((line) => OutputLineSchema.parse(JSON.parse(line)))
}

/** Asks again until it holds; the test's own time limit ends it. */
async function until(holds: () => Promise<boolean>): Promise<void> {
  while (!(await holds())) await new Promise((again) => setTimeout(again, POLL_MS))
}

function cosine(a: readonly number[], b: readonly number[]): number {
  const dot = a.reduce((sum, value, i) => sum + value * (b[i] ?? 0), 0)
  return dot / (Math.hypot(...a) * Math.hypot(...b))
}

// POST /v1/multimodal/* in workerd, a fake worker at the other end.

import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import { MatchInputSchema, FillMaskInputSchema } from '../../src/jobs/job-work.ts'
import {
  FillMaskResponseSchema,
  MatchResponseSchema,
  MultimodalEmbeddingsResponseSchema,
} from '../../src/handlers/multimodal-schema.ts'
import { JobSchema } from '../../src/handlers/jobs-schema.ts'
import { ALL_HEADS, sendTo, startFakeWorker, type FakeWorker } from '../fake-worker.ts'
import { startWorkers, type RunningWorkers } from '../harness.ts'
import { errorOf, get, pngBase64, post, type JsonAnswer } from '../job-client.ts'
import { makePlainPng, toBase64 } from '../pictures.ts'

const MODEL = 'flava-emoji'
const WAIT = { prefer: 'wait=20' }

let workers: RunningWorkers
let worker: FakeWorker
let image: string
let otherImage: string

beforeAll(async () => {
  workers = await startWorkers()
  worker = await startFakeWorker(sendTo(workers.url))
  image = await pngBase64(1)
  otherImage = await pngBase64(2)
})
afterAll(() => workers.stop())

/** Does the next job as it is told to, while the request waits. */
async function answered(route: string, body: object, work: (input: unknown) => unknown): Promise<JsonAnswer> {
  const [answer] = await Promise.all([
    post(workers, `/v1/multimodal/${route}`, { model: MODEL, ...body }, WAIT),
    worker.leaseOne().then(async (lease) => {
      const usage = { gpu_seconds: 0.25, tokens: 9, images: 2 }
      await worker.complete(lease, work(await worker.input(lease)), { usage })
    }),
  ])
  return answer
}

function match(body: object, headers: Record<string, string> = {}): Promise<JsonAnswer> {
  return post(workers, '/v1/multimodal/match', { model: MODEL, ...body }, headers)
}

/** Ends what a test has left in the queue. */
beforeEach(async () => {
  for (const lease of await worker.lease({ maxJobs: 32, waitMs: 0 }))
    await worker.fail(lease, 'failed', { error: anError('left_over') })
})

function anError(code: string, message = 'as the test wants it') {
  return { code, message, param: null, line: null }
}

test('pairs are answered in order while the request waits, each picture and text sent to the worker once', async () => {
  let seen: unknown
  const pairs = [
    { image, text: 'a cat' },
    { image: otherImage, text: 'a cat' },
    { image: `data:image/png;base64,${image}`, text: 'a dog' },
    { image, text: 'a dog' },
  ]
  const answer = await answered('match', { pairs }, (input) => {
    seen = input
    return { scores: [0.9, 0.2, 0.4, 0.1] }
  })
  expect(answer.status).toBe(200)
  expect(answer.headers.get('preference-applied')).toBe('wait=20')
  const body = MatchResponseSchema.parse(answer.body)
  expect(body.data).toEqual([0.9, 0.2, 0.4, 0.1].map((score, index) => ({ object: 'match', index, score })))
  expect(body.usage).toEqual({ prompt_tokens: 9, total_tokens: 9, images: 2 })
  expect(body.x_flava).toMatchObject({ engine: 'gpu', gpu_seconds: 0.25, job: expect.stringMatching(/^job_/) })
  const input = MatchInputSchema.parse(seen)
  expect(input.texts).toEqual(['a cat', 'a dog'])
  expect(input.pairs).toEqual([
    [0, 0],
    [1, 0],
    [2, 1],
    [0, 1],
  ])
  expect(input.images).toEqual([image, otherImage, image])
})

test('a ranking keeps the candidates’ order and tells each one’s rank', async () => {
  const answer = await answered('match', { query: { image }, candidates: ['a', { text: 'b' }, 'c'] }, () => ({
    scores: [0.2, 0.9, 0.5],
  }))
  expect(MatchResponseSchema.parse(answer.body).data).toEqual([
    { object: 'match', index: 0, score: 0.2, rank: 3 },
    { object: 'match', index: 1, score: 0.9, rank: 1 },
    { object: 'match', index: 2, score: 0.5, rank: 2 },
  ])
})

test('a text may be the query and pictures the candidates', async () => {
  let pairs: unknown
  await answered('match', { query: 'a cat', candidates: [{ image }, { image: otherImage }] }, (input) => {
    pairs = MatchInputSchema.parse(input).pairs
    return { scores: [0.2, 0.9] }
  })
  expect(pairs).toEqual([
    [0, 0],
    [1, 0],
  ])
})

test('pictures and texts make a matrix, a row for each picture', async () => {
  const answer = await answered('match', { images: [image, otherImage], texts: ['a', 'b', 'c'] }, () => ({
    scores: [0.1, 0.2, 0.3, 0.4, 0.5, 0.6],
  }))
  expect(MatchResponseSchema.parse(answer.body).data).toEqual([
    { object: 'match.row', index: 0, scores: [0.1, 0.2, 0.3] },
    { object: 'match.row', index: 1, scores: [0.4, 0.5, 0.6] },
  ])
})

test('a fused embedding comes as floats or base64, with a space of its own', async () => {
  const items = [{ embedding: [0.6, 0.8], text_tokens: 5, image_tokens: 65, is_truncated: false }]
  const input = { text: 'a cat', image }
  const floats = await answered('embeddings', { input }, () => ({ items }))
  const body = MultimodalEmbeddingsResponseSchema.parse(floats.body)
  expect(body.data).toEqual([{ object: 'embedding', index: 0, embedding: [0.6, 0.8] }])
  expect(body.x_flava.items).toEqual([{ index: 0, truncated: false, text_tokens: 5, image_tokens: 65, shape: [2] }])
  const model = await get(workers, `/v1/models/${MODEL}`)
  expect(model.body).toMatchObject({ x_flava: { space: expect.stringMatching(/^[0-9a-f]{16}$/) } })
  expect(model.body).not.toMatchObject({ x_flava: { space: body.x_flava.space } })
  const base64 = await answered('embeddings', { input: [input], encoding_format: 'base64' }, () => ({ items }))
  const [datum] = MultimodalEmbeddingsResponseSchema.parse(base64.body).data
  const bytes = Buffer.from(String(datum?.embedding), 'base64')
  expect([bytes.readFloatLE(0), bytes.readFloatLE(4)]).toEqual([Math.fround(0.6), Math.fround(0.8)])
})

test('cells and boxes become patches of the model’s grid, and come back as rows and columns', async () => {
  const asked: number[][] = []
  const input = [
    {
      image,
      text: 'a [MASK] cat',
      masked_patches: [
        [0, 1],
        [7, 7],
      ],
    },
    // An eighth of the picture is one patch: this box touches two by two of them.
    { image, masked_boxes: [[0.2, 0.2, 0.3, 0.3]] },
    { image, masked_boxes: [[0, 0, 0.125, 0.125]] },
  ]
  const answer = await answered('fill-mask', { input, top_k: 1 }, (received) => {
    const { items, top_k } = FillMaskInputSchema.parse(received)
    expect(top_k).toBe(1)
    asked.push(...items.map(({ masked_patches }) => masked_patches))
    return {
      items: items.map(({ masked_patches }, i) => ({
        words: i === 0 ? [{ position: 2, candidates: [{ token: 'black', token_id: 7, score: 0.5 }] }] : [],
        patches: masked_patches.map((patch) => ({ patch, candidates: [{ codebook_id: 3, score: 0.25 }] })),
      })),
    }
  })
  expect(asked).toEqual([[1, 63], [9, 10, 17, 18], [0]])
  const { data } = FillMaskResponseSchema.parse(answer.body)
  expect(data[0]?.words).toEqual([{ position: 2, candidates: [{ token: 'black', token_id: 7, score: 0.5 }] }])
  expect(data[1]?.patches.map(({ row, column }) => [row, column])).toEqual([
    [1, 1],
    [1, 2],
    [2, 1],
    [2, 2],
  ])
})

test('without Prefer, and with respond-async, the job is answered at once and can be asked for', async () => {
  for (const prefer of [undefined, 'respond-async']) {
    const answer = await match({ pairs: [{ image, text: 'a' }] }, prefer === undefined ? {} : { prefer })
    expect(answer.status).toBe(202)
    expect(answer.headers.get('preference-applied')).toBe(prefer ?? null)
    const job = JobSchema.parse(answer.body)
    expect(answer.headers.get('location')).toBe(`/v1/jobs/${job.id}`)
    expect(job).toMatchObject({ kind: 'multimodal.match', status: 'queued', attempts: 0, model: MODEL })
    const lease = await worker.leaseOne()
    expect(lease.job).toBe(job.id)
    await worker.complete(lease, { scores: [0.75] })
    const done = JobSchema.parse((await get(workers, `/v1/jobs/${job.id}`)).body)
    expect(done.status).toBe('succeeded')
    expect(MatchResponseSchema.parse(done.result).data).toEqual([{ object: 'match', index: 0, score: 0.75 }])
  }
})

test('a result that is not there in time leaves the caller with the job', async () => {
  const answer = await match({ pairs: [{ image, text: 'a' }] }, { prefer: 'respond-async, wait=1' })
  expect(answer.status).toBe(202)
  expect(answer.headers.get('preference-applied')).toBe('respond-async, wait=1')
  const lease = await worker.leaseOne()
  expect(lease.job).toBe(answer.body.id)
})

test('a wait beyond 25 seconds is cut to that, and one that cannot be read is ignored', async () => {
  const [cut] = await Promise.all([
    match({ pairs: [{ image, text: 'a' }] }, { prefer: 'wait=600' }),
    worker.leaseOne().then((lease) => worker.complete(lease, { scores: [0.5] })),
  ])
  expect(cut.headers.get('preference-applied')).toBe('wait=25')
  const ignored = await match({ pairs: [{ image, text: 'a' }] }, { prefer: 'wait=soon, return=minimal' })
  expect([ignored.status, ignored.headers.get('preference-applied')]).toEqual([202, null])
})

test('a long input and a long result travel as objects and are answered all the same', async () => {
  const pictures = await Promise.all(Array.from({ length: 4 }, (_, i) => makePlainPng(1500 + i, 700).then(toBase64)))
  const filler = 'words '.repeat(60_000)
  const embedding = Array.from({ length: 40_000 }, (_, i) => i / 40_000)
  const [answer] = await Promise.all([
    post(
      workers,
      '/v1/multimodal/embeddings',
      { model: MODEL, input: pictures.map((picture) => ({ image: picture, text: filler })) },
      WAIT,
    ),
    worker.leaseOne().then(async (lease) => {
      expect(lease.input).toHaveProperty('object.name', 'input.json')
      const input = await worker.input(lease)
      expect(input).toMatchObject({ items: pictures.map((picture) => ({ image: picture, text: filler })) })
      const items = pictures.map(() => ({ embedding, text_tokens: 77, image_tokens: 65, is_truncated: true }))
      await worker.completeLong(lease, { items })
    }),
  ])
  expect(answer.status).toBe(200)
  const body = MultimodalEmbeddingsResponseSchema.parse(answer.body)
  expect(body.data[3]?.embedding).toEqual(embedding)
  const job = await get(workers, `/v1/jobs/${body.x_flava.job}`)
  expect(job.body.result).toEqual(answer.body)
})

test('what the worker refuses becomes the answer of who waited', async () => {
  const cases = [
    { code: 'head_not_trained', outcome: 'failed', status: 409, isFinal: true },
    { code: 'invalid_input', outcome: 'failed', status: 400, isFinal: false },
    { code: 'corrupt_image', outcome: 'failed', status: 422, isFinal: false },
    { code: 'out_of_memory', outcome: 'failed', status: 500, isFinal: true },
  ] as const
  for (const { code, outcome, status, isFinal } of cases) {
    const [answer] = await Promise.all([
      match({ pairs: [{ image, text: 'a' }] }, WAIT),
      worker.leaseOne().then((lease) => worker.fail(lease, outcome, { error: anError(code) })),
    ])
    expect([answer.status, errorOf(answer).code]).toEqual([status, code])
    expect(answer.headers.get('x-should-retry')).toBe(isFinal ? 'false' : null)
    expect(answer.headers.get('location')).toMatch(/^\/v1\/jobs\/job_/)
  }
})

test('a job that is cancelled while its caller waits is answered as cancelled', async () => {
  const waiting = match({ pairs: [{ image, text: 'a' }] }, WAIT)
  const lease = await worker.leaseOne()
  await post(workers, `/v1/jobs/${lease.job}/cancel`, {})
  expect(await worker.heartbeat(lease)).toMatchObject({ is_held: true, should_cancel: true })
  await worker.fail(lease, 'cancelled')
  const answer = await waiting
  expect([answer.status, errorOf(answer).code, answer.headers.get('x-should-retry')]).toEqual([
    409,
    'job_cancelled',
    'false',
  ])
})

test('a head that the model is known to lack is refused at once', async () => {
  const own = await startWorkers()
  try {
    const untaught = await startFakeWorker(sendTo(own.url), {
      models: [
        { id: MODEL, heads: ALL_HEADS.filter((head) => head === 'contrastive' || head === 'mlm'), is_loaded: true },
      ],
    })
    await untaught.lease({ waitMs: 0 })
    const refusals = [
      ['match', { pairs: [{ image, text: 'a' }] }],
      ['embeddings', { input: { image, text: 'a' } }],
      ['fill-mask', { input: { image, text: 'a [MASK]' } }],
      ['fill-mask', { input: { image, masked_patches: [[0, 0]] } }],
    ] as const
    for (const [route, body] of refusals) {
      const answer = await post(own, `/v1/multimodal/${route}`, { model: MODEL, ...body }, WAIT)
      expect([answer.status, errorOf(answer).code]).toEqual([409, 'head_not_trained'])
      expect(answer.headers.get('x-should-retry')).toBe('false')
    }
    const words = await post(own, '/v1/multimodal/fill-mask', { model: MODEL, input: { text: 'a [MASK]' } })
    expect(words.status).toBe(202)
  } finally {
    await own.stop()
  }
})

test('a base model classifies nothing', async () => {
  const answer = await post(workers, '/v1/multimodal/classify', { model: MODEL, input: { text: 'a' } })
  expect([answer.status, errorOf(answer).code]).toEqual([409, 'head_not_trained'])
})

test('every part of a request is checked, and the answer names it', async () => {
  const png = Buffer.from(image, 'base64')
  const cut = png.subarray(0, 20).toString('base64')
  const gif = Buffer.from('GIF89a-and-more').toString('base64')
  const large = toBase64(await makePlainPng(5000, 4000))
  const many = Array.from({ length: 257 }, () => ({ image, text: 'a' }))
  const pair = { image, text: 'a' }
  const sixteen = Object.fromEntries(Array.from({ length: 17 }, (_, i) => [`k${i}`, 'v']))
  const cases: [route: string, body: object, status: number, code: string, param: string | null][] = [
    ['match', {}, 400, 'invalid_input', null],
    ['match', { pairs: [] }, 400, 'invalid_input', 'pairs'],
    ['match', { pairs: many }, 400, 'too_many_items', 'pairs'],
    ['match', { pairs: [pair], query: 'a' }, 400, 'invalid_input', null],
    ['match', { pairs: [pair, { text: 'a' }] }, 400, 'invalid_input', 'pairs[1].image'],
    ['match', { pairs: [{ image: cut, text: 'a' }] }, 422, 'corrupt_image', 'pairs[0].image'],
    ['match', { pairs: [pair, { image: gif, text: 'a' }] }, 415, 'unsupported_image', 'pairs[1].image'],
    ['match', { pairs: [{ image: large, text: 'a' }] }, 413, 'image_too_large', 'pairs[0].image'],
    ['match', { pairs: [{ image: '!', text: 'a' }] }, 400, 'invalid_base64', 'pairs[0].image'],
    [
      'match',
      { pairs: [{ image: 'https://example.org/a.png', text: 'a' }] },
      400,
      'image_url_refused',
      'pairs[0].image',
    ],
    ['match', { query: 'a', candidates: [{ image }, 'b'] }, 400, 'invalid_input', 'candidates[1]'],
    ['match', { query: 'a' }, 400, 'invalid_input', 'candidates'],
    [
      'match',
      { images: Array.from({ length: 16 }, () => image), texts: Array.from({ length: 17 }, () => 'a') },
      400,
      'too_many_items',
      'texts',
    ],
    ['match', { pairs: [pair], model: 'gpt' }, 404, 'model_not_found', 'model'],
    ['match', { pairs: [pair], model: 'ft:flava-emoji::000000000000' }, 404, 'model_not_found', null],
    ['match', { pairs: [pair], model: 3 }, 400, 'invalid_input', 'model'],
    ['match', { pairs: [pair], metadata: sixteen }, 400, 'invalid_input', 'metadata'],
    ['match', { pairs: [pair], metadata: { k: 'v'.repeat(513) } }, 400, 'invalid_input', 'metadata.k'],
    [
      'match',
      { pairs: [pair], metadata: { ['k'.repeat(65)]: 'v' } },
      400,
      'invalid_input',
      `metadata.${'k'.repeat(65)}`,
    ],
    [
      'match',
      { pairs: [pair], x_flava: { max_runtime_seconds: 121 } },
      400,
      'invalid_input',
      'x_flava.max_runtime_seconds',
    ],
    ['embeddings', {}, 400, 'invalid_input', 'input'],
    ['embeddings', { input: { text: 'a' } }, 400, 'invalid_input', 'input.image'],
    ['embeddings', { input: pair, output: 'projected' }, 400, 'invalid_input', 'output'],
    ['embeddings', { input: many.slice(0, 256), output: 'hidden' }, 413, 'response_too_large', 'input'],
    ['fill-mask', { input: { text: 'no mask' } }, 400, 'invalid_input', 'input'],
    ['fill-mask', { input: [{ text: '[MASK]', masked_patches: [[0, 0]] }] }, 400, 'invalid_input', 'input[0]'],
    ['fill-mask', { input: [{ image, masked_patches: [[0, 8]] }] }, 400, 'invalid_input', 'input[0].masked_patches[0]'],
    [
      'fill-mask',
      { input: [{ image, masked_boxes: [[0.5, 0, 0.5, 1]] }] },
      400,
      'invalid_input',
      'input[0].masked_boxes[0]',
    ],
    [
      'fill-mask',
      { input: [{ image, masked_boxes: [[0, 0, 1, 2]] }] },
      400,
      'invalid_input',
      'input[0].masked_boxes[0][3]',
    ],
    ['fill-mask', { input: { text: '[MASK]' }, top_k: 101 }, 400, 'invalid_input', 'top_k'],
    ['classify', { input: [{}] }, 400, 'invalid_input', 'input[0]'],
  ]
  for (const [route, body, status, code, param] of cases) {
    const answer = await post(workers, `/v1/multimodal/${route}`, { model: MODEL, ...body })
    const got = errorOf(answer)
    expect({ body, status: answer.status, code: got.code, param: got.param }).toEqual({ body, status, code, param })
  }
})

test('only JSON is read, and only that', async () => {
  const wrongType = await workers.fetch('/v1/multimodal/match', {
    method: 'POST',
    headers: { 'content-type': 'text/plain' },
    body: '{}',
  })
  expect(wrongType.status).toBe(415)
  await wrongType.arrayBuffer()
  const list = await post(workers, '/v1/multimodal/match', [])
  expect([list.status, errorOf(list).code]).toEqual([400, 'invalid_input'])
  const broken = await post(workers, '/v1/multimodal/match', '{"model":')
  expect([broken.status, errorOf(broken).code]).toEqual([400, 'invalid_json'])
})

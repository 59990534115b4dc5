// The official openai client against a listening socket, as a user would run it: no option of ours, no adaptation.

import OpenAI, { NotFoundError } from 'openai'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { dot, embed, MODEL, vectorsOf } from '../embedding-client.ts'
import { startWorkers, type RunningWorkers } from '../harness.ts'

let workers: RunningWorkers
let client: OpenAI

beforeAll(async () => {
  workers = await startWorkers()
  client = new OpenAI({ apiKey: 'not-needed-on-loopback', baseURL: new URL('/v1', workers.url).href, maxRetries: 0 })
})
afterAll(() => workers.stop())

test('embeddings.create without an encoding, which asks for base64, gives the floats of the float answer', async () => {
  const input = ['a cat', 'a dog']
  const { data, model, usage } = await client.embeddings.create({ model: MODEL, input })
  expect(model).toBe(MODEL)
  expect(usage.prompt_tokens).toBeGreaterThan(4)
  expect(data.map(({ index }) => index)).toEqual([0, 1])
  expect(data.map(({ embedding }) => embedding)).toEqual(vectorsOf(await embed(workers, input)))
})

test('encoding_format float gives the same vectors', async () => {
  const base64 = await client.embeddings.create({ model: MODEL, input: 'a cat' })
  const float = await client.embeddings.create({ model: MODEL, input: 'a cat', encoding_format: 'float' })
  expect(float.data[0]?.embedding).toEqual(base64.data[0]?.embedding)
  expect(dot(float.data[0]?.embedding, float.data[0]?.embedding)).toBeCloseTo(1, 5)
})

test('token ids and the user field go through', async () => {
  const { data } = await client.embeddings.create({ model: MODEL, input: [[2, 50, 3], [60]], user: 'someone' })
  expect(data).toHaveLength(2)
})

test('models.list and models.retrieve answer', async () => {
  const ids: string[] = []
  for await (const { id } of client.models.list()) ids.push(id)
  expect(ids).toEqual([MODEL])
  await expect(client.models.retrieve(MODEL)).resolves.toMatchObject({ id: MODEL, object: 'model' })
})

test('errors arrive as the client’s own classes, with code, param and request id', async () => {
  const failure = client.embeddings.create({ model: 'gpt', input: 'a' })
  await expect(failure).rejects.toThrow(NotFoundError)
  await expect(failure).rejects.toMatchObject({
    status: 404,
    code: 'model_not_found',
    param: 'model',
    requestID: expect.stringMatching(/^req_/),
  })
})

// POST /v1/embeddings through real Workers and real encoders: inputs, options, shapes, usage.

import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { dot, embed, MODEL, post, vectorsOf } from '../embedding-client.ts'
import { startWorkers, type RunningWorkers } from '../harness.ts'
import { makePicture, toBase64, toDataUri, toPng } from '../pictures.ts'
import { EmbeddingsResponseSchema } from '../../src/handlers/embeddings-schema.ts'

let workers: RunningWorkers
let png: Uint8Array
let tokenCountOfCat: number

beforeAll(async () => {
  workers = await startWorkers()
  png = await makePicture('png')
  tokenCountOfCat = (await embed(workers, 'cat')).usage.total_tokens
})
afterAll(() => workers.stop())

describe('input', () => {
  test('a string gives one unit vector in OpenAI’s shape', async () => {
    const body = await embed(workers, 'a cat on a chair')
    expect(body).toMatchObject({ object: 'list', model: MODEL, data: [{ object: 'embedding', index: 0 }] })
    const [vector] = vectorsOf(body)
    expect(vector).toHaveLength(192)
    expect(dot(vector, vector)).toBeCloseTo(1, 5)
  })

  test('the same input gives the same vector, alone or in company', async () => {
    const [alone] = vectorsOf(await embed(workers, 'red heart'))
    const together = vectorsOf(await embed(workers, ['a much longer text about a grey cat', 'red heart', 'red heart']))
    expect(together[1]).toEqual(alone)
    expect(together[2]).toEqual(alone)
    expect(together[0]).not.toEqual(alone)
  })

  test('every kind of item, mixed, is answered in order', async () => {
    const image = toDataUri('png', png)
    const input = [
      'cat',
      { image },
      { text: 'cat' },
      [2, 50, 3],
      { text: 'cat', text_pair: 'dog' },
      { image: toBase64(png) },
    ]
    const body = await embed(workers, input)
    const vectors = vectorsOf(body)
    expect(body.data.map(({ index }) => index)).toEqual([0, 1, 2, 3, 4, 5])
    expect(vectors[2]).toEqual(vectors[0])
    expect(vectors[5]).toEqual(vectors[1])
    expect(vectors[4]).not.toEqual(vectors[0])
    expect(body.x_flava.items.map(({ index }) => index)).toEqual([0, 1, 2, 3, 4, 5])
  })

  test('a flat list of numbers is one item, a list of lists is several', async () => {
    const flat = vectorsOf(await embed(workers, [2, 50, 60, 3]))
    const nested = vectorsOf(await embed(workers, [[2, 50, 60, 3], [70]]))
    expect(flat).toHaveLength(1)
    expect(nested).toHaveLength(2)
    expect(nested[0]).toEqual(flat[0])
  })

  test('token ids mean the same with and without their [CLS] and [SEP]', async () => {
    const vectors = vectorsOf(
      await embed(workers, [
        [2, 50, 60, 3],
        [50, 60],
        [2, 50, 60],
        [50, 60, 3],
      ]),
    )
    for (const vector of vectors) expect(vector).toEqual(vectors[0])
  })

  test.for(['png', 'jpeg', 'webp'] as const)(
    'a %s gives a unit vector, that of a PNG of the same decoded pixels (cosine ≥ 0.999)',
    async (format) => {
      const picture = await makePicture(format, 64, 2)
      const [vector, reference] = vectorsOf(
        await embed(workers, [{ image: toDataUri(format, picture) }, { image: toBase64(await toPng(picture)) }]),
      )
      expect(dot(vector, vector)).toBeCloseTo(1, 5)
      expect(dot(vector, reference)).toBeGreaterThan(0.999)
    },
  )

  test('a single object without a list around it is one item', async () => {
    const alone = vectorsOf(await embed(workers, { image: toBase64(png) }))
    const listed = vectorsOf(await embed(workers, [{ image: toBase64(png) }]))
    expect(alone).toEqual(listed)
  })

  test('256 mixed items, the most there may be, come back in order and in several calls', async () => {
    const image = { image: toBase64(png) }
    const input = Array.from({ length: 256 }, (_, i) => (i % 8 === 7 ? image : `text number ${i % 3}`))
    const headers = { 'x-request-id': 'calls-1' }
    const vectors = vectorsOf(
      EmbeddingsResponseSchema.parse(await (await post(workers, { model: MODEL, input }, headers)).json()),
    )
    const line = await workers.waitForLog(({ event, id }) => event === 'request' && id === 'calls-1')
    // One of texts, one of pixels and one of images would be three.
    expect(line['calls']).toBeGreaterThan(3)
    const first = vectorsOf(await embed(workers, ['text number 0', 'text number 1', 'text number 2', image]))
    expect(vectors).toHaveLength(256)
    for (const [i, vector] of vectors.entries()) expect(vector).toEqual(i % 8 === 7 ? first[3] : first[i % 3])
  })
})

describe('a picture as the body', () => {
  test.for(['png', 'jpeg', 'webp'] as const)('%s bytes give the vector that base64 gives', async (format) => {
    const picture = await makePicture(format)
    const response = await workers.fetch('/v1/embeddings', {
      method: 'POST',
      headers: { 'content-type': `image/${format}` },
      body: picture,
    })
    expect(response.status).toBe(200)
    const json = await embed(workers, { image: toBase64(picture) })
    expect(await response.json()).toEqual(json)
  })

  test('options come in the query string', async () => {
    const query =
      'encoding_format=base64&output_dtype=ubinary&output=cls&normalize=true&dimensions=192&model=flava-emoji'
    const response = await workers.fetch(`/v1/embeddings?${query}`, {
      method: 'POST',
      headers: { 'content-type': 'image/png' },
      body: png,
    })
    const options = { encoding_format: 'base64', output_dtype: 'ubinary', output: 'cls' }
    expect(await response.json()).toEqual(await embed(workers, { image: toBase64(png) }, options))
  })

  test('a wrong option in the query string is named', async () => {
    const response = await workers.fetch('/v1/embeddings?normalize=perhaps', {
      method: 'POST',
      headers: { 'content-type': 'image/png' },
      body: png,
    })
    expect(response.status).toBe(400)
    expect(await response.json()).toMatchObject({ error: { code: 'invalid_input', param: 'normalize' } })
  })
})

describe('options', () => {
  test('base64 is the little-endian bytes of the float vector', async () => {
    const [numbers] = vectorsOf(await embed(workers, 'cat'))
    const { data } = await embed(workers, 'cat', { encoding_format: 'base64' })
    const bytes = Buffer.from(String(data[0]?.embedding), 'base64')
    expect(bytes).toHaveLength(192 * 4)
    expect(Array.from({ length: 192 }, (_, i) => bytes.readFloatLE(4 * i))).toEqual(numbers)
  })

  test('int8 is 127 times the float vector, rounded, in both encodings', async () => {
    const [numbers = []] = vectorsOf(await embed(workers, 'cat'))
    const [int8] = vectorsOf(await embed(workers, 'cat', { output_dtype: 'int8' }))
    expect(int8).toEqual(numbers.map((value) => Math.round(value * 127) + 0))
    const { data } = await embed(workers, 'cat', { output_dtype: 'int8', encoding_format: 'base64' })
    expect([...new Int8Array(Buffer.from(String(data[0]?.embedding), 'base64'))]).toEqual(int8)
  })

  test('ubinary packs the signs, most significant bit first, in both encodings', async () => {
    const [numbers = []] = vectorsOf(await embed(workers, 'cat'))
    const [ubinary = []] = vectorsOf(await embed(workers, 'cat', { output_dtype: 'ubinary' }))
    const bits = ubinary.map((byte) => byte.toString(2).padStart(8, '0')).join('')
    expect(ubinary).toHaveLength(24)
    expect(bits).toBe(numbers.map((value) => (value > 0 ? '1' : '0')).join(''))
    const { data } = await embed(workers, 'cat', { output_dtype: 'ubinary', encoding_format: 'base64' })
    expect([...Buffer.from(String(data[0]?.embedding), 'base64')]).toEqual(ubinary)
  })

  test('normalize false gives the same direction at its own length', async () => {
    const [unit] = vectorsOf(await embed(workers, 'cat'))
    const [raw] = vectorsOf(await embed(workers, 'cat', { normalize: false }))
    const length = Math.sqrt(dot(raw, raw))
    expect(length).not.toBeCloseTo(1, 2)
    expect(dot(unit, raw) / length).toBeCloseTo(1, 5)
  })

  test('output cls gives another vector than projected', async () => {
    const [projected] = vectorsOf(await embed(workers, 'cat'))
    const [cls] = vectorsOf(await embed(workers, 'cat', { output: 'cls' }))
    expect(cls).toHaveLength(192)
    expect(cls).not.toEqual(projected)
  })

  test('output hidden gives a vector a token, with its shape; token 0 is cls', async () => {
    const input = ['cat', { image: toBase64(png) }]
    const hidden = await embed(workers, input, { output: 'hidden' })
    const [text = [], image = []] = vectorsOf(hidden)
    const cls = vectorsOf(await embed(workers, input, { output: 'cls' }))
    expect(hidden.x_flava.items.map(({ shape }) => shape)).toEqual([
      [tokenCountOfCat, 192],
      [65, 192],
    ])
    expect(text).toHaveLength(tokenCountOfCat * 192)
    expect(text.slice(0, 192)).toEqual(cls[0])
    expect(image.slice(0, 192)).toEqual(cls[1])
    const last = image.slice(-192)
    expect(dot(last, last)).toBeCloseTo(1, 5)
  })

  test('a long text is cut and says so, with its tokens before the cut; usage counts what was read', async () => {
    const long = 'cat '.repeat(200)
    const body = await embed(workers, [long, 'cat'])
    const perCat = tokenCountOfCat - 2
    expect(body.x_flava.items).toEqual([
      { index: 0, truncated: true, input_tokens: 200 * perCat + 2 },
      { index: 1, truncated: false, input_tokens: tokenCountOfCat },
    ])
    expect(body.usage).toEqual({ prompt_tokens: 77 + tokenCountOfCat, total_tokens: 77 + tokenCountOfCat })
  })

  test('truncate false makes a long text an error that names it', async () => {
    const response = await post(workers, { model: MODEL, input: ['cat', 'cat '.repeat(200)], truncate: false })
    expect(response.status).toBe(400)
    expect(await response.json()).toMatchObject({ error: { code: 'input_too_long', param: 'input[1]' } })
  })

  test('a picture counts its 64 patches and one', async () => {
    const { usage, x_flava: extra } = await embed(workers, { image: toBase64(png) })
    expect(usage).toEqual({ prompt_tokens: 65, total_tokens: 65 })
    expect(extra.items).toEqual([{ index: 0, truncated: false, input_tokens: 65 }])
  })

  test('the model’s own dimensions, null options, user and unknown fields change nothing', async () => {
    const plain = await embed(workers, 'cat')
    const nothing = {
      dimensions: 192,
      user: 'someone',
      encoding_format: null,
      output: null,
      truncate: null,
      foo: { bar: 1 },
    }
    expect(await embed(workers, 'cat', nothing)).toEqual(plain)
  })
})

test('space and placement are in the body and in headers, and all kinds of input share them', async () => {
  const response = await post(workers, { model: MODEL, input: ['cat', { image: toBase64(png) }] })
  const model = await (await workers.fetch(`/v1/models/${MODEL}`)).json()
  expect(await response.json()).toMatchObject({
    x_flava: {
      space: response.headers.get('x-flava-space'),
      placement: { route: 'edge', reason: expect.stringContaining('limit') },
    },
  })
  expect(response.headers.get('x-flava-placement')).toMatch(/^edge; /)
  expect(model).toMatchObject({ id: MODEL, x_flava: { space: response.headers.get('x-flava-space') } })
})

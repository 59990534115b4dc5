// Everything that can be wrong with POST /v1/embeddings: OpenAI's error object, the right status, the item's name,
// and a service that answers the next good request as if nothing had been.

import { request, type IncomingMessage } from 'node:http'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { embed, MODEL, post, vectorsOf } from '../embedding-client.ts'
import { startWorkers, type HttpResponse, type RunningWorkers } from '../harness.ts'
import { makePicture, makePlainPng, toBase64, toDataUri } from '../pictures.ts'

let workers: RunningWorkers
let png: Uint8Array
let goodRequest: unknown[]
let goodVectors: number[][]

beforeAll(async () => {
  workers = await startWorkers()
  png = await makePicture('png')
  goodRequest = ['cat', { image: toBase64(png) }]
  goodVectors = vectorsOf(await embed(workers, goodRequest))
})
afterAll(() => workers.stop())

interface Refusal {
  status: number
  code: string
  param?: string | null
  message?: string
}

async function expectRefusal(response: HttpResponse, { status, code, param = null, message }: Refusal): Promise<void> {
  const body: unknown = await response.json()
  expect(response.status).toBe(status)
  expect(body).toEqual({
    error: { code, param, type: expect.any(String), message: expect.stringContaining(message ?? '') },
  })
  expect(response.headers.get('x-request-id')).not.toBeNull()
  expect(response.headers.get('server-timing')).toMatch(/total;dur=/)
  expect(vectorsOf(await embed(workers, goodRequest))).toEqual(goodVectors)
}

const invalid = { status: 400, code: 'invalid_input' }

test.for<[string, unknown, Refusal]>([
  ['a body that is not JSON', '{"model":', { status: 400, code: 'invalid_json' }],
  ['a body that is no object', '[1, 2]', { ...invalid, message: 'JSON object' }],
  ['no body', '', { ...invalid, message: 'body' }],
  ['no model', { input: 'cat' }, { ...invalid, param: 'model' }],
  ['an unknown model', { model: 'gpt', input: 'cat' }, { status: 404, code: 'model_not_found', param: 'model' }],
  ['no input', { model: MODEL }, { ...invalid, param: 'input' }],
  ['an empty text', { model: MODEL, input: '' }, { ...invalid, param: 'input' }],
  ['an empty list', { model: MODEL, input: [] }, { ...invalid, param: 'input' }],
  ['an empty text in a list', { model: MODEL, input: ['cat', ''] }, { ...invalid, param: 'input[1]' }],
  ['a number among texts', { model: MODEL, input: ['cat', 5] }, { ...invalid, param: 'input[1]' }],
  ['null as an item', { model: MODEL, input: [null] }, { ...invalid, param: 'input[0]', message: 'null' }],
  ['an item of neither kind', { model: MODEL, input: [{ audio: 'x' }] }, { ...invalid, param: 'input[0]' }],
  ['a text item of the wrong type', { model: MODEL, input: [{ text: 7 }] }, { ...invalid, param: 'input[0].text' }],
  [
    'an empty pair',
    { model: MODEL, input: [{ text: 'a', text_pair: '' }] },
    { ...invalid, param: 'input[0].text_pair' },
  ],
  ['an empty token list', { model: MODEL, input: [[]] }, { ...invalid, param: 'input[0]' }],
  ['a text among token ids', { model: MODEL, input: [[2, 'x']] }, { ...invalid, param: 'input[0][1]' }],
  ['a negative token id', { model: MODEL, input: [-1] }, { ...invalid, param: 'input[0]' }],
  ['a fractional token id', { model: MODEL, input: [[1.5]] }, { ...invalid, param: 'input[0][0]' }],
  [
    'an unknown token id',
    { model: MODEL, input: ['a', [99_999_999]] },
    { ...invalid, param: 'input[1]', message: '99999999' },
  ],
  [
    'too many items',
    { model: MODEL, input: Array(257).fill('a') },
    { status: 400, code: 'too_many_items', param: 'input', message: '257' },
  ],
  [
    'an unknown encoding',
    { model: MODEL, input: 'a', encoding_format: 'hex' },
    { ...invalid, param: 'encoding_format' },
  ],
  ['an unknown output type', { model: MODEL, input: 'a', output_dtype: 'int4' }, { ...invalid, param: 'output_dtype' }],
  ['an unknown output', { model: MODEL, input: 'a', output: 'pooler' }, { ...invalid, param: 'output' }],
  ['normalize that is no boolean', { model: MODEL, input: 'a', normalize: 'no' }, { ...invalid, param: 'normalize' }],
  [
    'int8 of vectors of any length',
    { model: MODEL, input: 'a', normalize: false, output_dtype: 'int8' },
    { ...invalid, param: 'output_dtype' },
  ],
  [
    'fewer dimensions',
    { model: MODEL, input: 'a', dimensions: 64 },
    { status: 400, code: 'unsupported_dimensions', param: 'dimensions', message: 'Matryoshka' },
  ],
  ['no dimensions', { model: MODEL, input: 'a', dimensions: 0 }, { ...invalid, param: 'dimensions' }],
  ['a picture of the wrong type', { model: MODEL, input: [{ image: 5 }] }, { ...invalid, param: 'input[0].image' }],
  [
    'text for base64',
    { model: MODEL, input: [{ image: 'a cat!' }] },
    { status: 400, code: 'invalid_base64', param: 'input[0].image' },
  ],
  [
    'base64 cut within a byte',
    { model: MODEL, input: { image: 'AAAAA' } },
    { status: 400, code: 'invalid_base64', param: 'input.image' },
  ],
  [
    'a hundred thousand signs of padding',
    { model: MODEL, input: { image: `${'='.repeat(100_000)}A` } },
    { status: 400, code: 'invalid_base64', param: 'input.image' },
  ],
  [
    'a data URI of ten million parameters',
    { model: MODEL, input: { image: `data:${';'.repeat(10_000_000)}` } },
    { status: 400, code: 'invalid_base64', param: 'input.image' },
  ],
  [
    'a list of a million token ids that are none',
    { model: MODEL, input: [Array(1_000_000).fill('')] },
    { ...invalid, param: 'input[0]', message: '65536' },
  ],
  [
    'a data URI that is not base64',
    { model: MODEL, input: [{ image: 'data:image/png,abc' }] },
    { status: 400, code: 'invalid_base64', param: 'input[0].image' },
  ],
  [
    'a data URI of another kind',
    { model: MODEL, input: [{ image: 'data:text/html;base64,AAAA' }] },
    { status: 415, code: 'unsupported_image', param: 'input[0].image' },
  ],
  [
    'a URL where none are fetched',
    { model: MODEL, input: [{ image: 'https://example.org/a.png' }] },
    { status: 400, code: 'image_url_refused', param: 'input[0].image' },
  ],
  [
    'an answer too large to build',
    { model: MODEL, input: Array(256).fill('word '.repeat(80)), output: 'hidden' },
    { status: 413, code: 'response_too_large', param: 'input' },
  ],
])('%s is refused, and the next request is answered', async ([, body, refusal]) => {
  await expectRefusal(await post(workers, body), refusal)
})

test('a text of invalid UTF-8 is refused as invalid JSON', async () => {
  const body = Uint8Array.of(...Buffer.from('{"model":"flava-emoji","input":"'), 0xff, ...Buffer.from('"}'))
  const response = await workers.fetch('/v1/embeddings', {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body,
  })
  await expectRefusal(response, { status: 400, code: 'invalid_json' })
})

test('a damaged picture is named by its place among good items', async () => {
  const damaged = png.slice(0, Math.floor(png.length * 0.6))
  const input = ['cat', { image: toBase64(png) }, 'dog', { image: toBase64(damaged) }]
  await expectRefusal(await post(workers, { model: MODEL, input }), {
    status: 422,
    code: 'corrupt_image',
    param: 'input[3].image',
    message: 'input[3].image: ',
  })
})

test.for(['png', 'jpeg', 'webp'] as const)('a %s cut short is refused', async (format) => {
  const picture = await makePicture(format, 96)
  const image = toDataUri(format, picture.slice(0, Math.floor(picture.length * 0.6)))
  await expectRefusal(await post(workers, { model: MODEL, input: { image } }), {
    status: 422,
    code: 'corrupt_image',
    param: 'input.image',
  })
})

test.for<[string, string]>([
  ['a GIF', 'R0lGODlhAQABAAAAACwAAAAAAQABAAACAkQBADs='],
  ['a text file', Buffer.from('not a picture at all').toString('base64')],
])('%s is refused by what it is', async ([, image]) => {
  await expectRefusal(await post(workers, { model: MODEL, input: ['cat', { image }] }), {
    status: 415,
    code: 'unsupported_image',
    param: 'input[1].image',
  })
})

test('a picture of too many pixels is refused from its header', async () => {
  const image = toBase64(await makePlainPng(6000, 4000))
  await expectRefusal(await post(workers, { model: MODEL, input: [{ image }] }), {
    status: 413,
    code: 'image_too_large',
    param: 'input[0].image',
  })
})

test('a damaged picture as the body is refused', async () => {
  const response = await workers.fetch('/v1/embeddings', {
    method: 'POST',
    headers: { 'content-type': 'image/png' },
    body: png.slice(0, 40),
  })
  await expectRefusal(response, { status: 422, code: 'corrupt_image', param: 'body' })
})

test.for(['text/plain', 'image/gif', 'multipart/form-data; boundary=x', ''])(
  'content type "%s" is refused',
  async (type) => {
    const response = await workers.fetch('/v1/embeddings', {
      method: 'POST',
      headers: { 'content-type': type },
      body: '{"model":"flava-emoji","input":"cat"}',
    })
    await expectRefusal(response, { status: 415, code: 'unsupported_media_type' })
  },
)

test('a body that announces more than 20 MiB is refused before any of it is sent', async () => {
  const headers = { 'content-type': 'application/json', 'content-length': 20 * 1024 * 1024 + 1 }
  const answer = await new Promise<IncomingMessage>((resolve, reject) => {
    const outgoing = request(new URL('/v1/embeddings', workers.url).href, { method: 'POST', headers })
    outgoing.on('response', resolve)
    outgoing.on('error', reject)
    outgoing.flushHeaders()
  })
  const body: unknown = JSON.parse((await answer.toArray()).join(''))
  answer.destroy()
  expect(answer.statusCode).toBe(413)
  expect(body).toMatchObject({ error: { code: 'body_too_large', message: expect.stringContaining('20 MiB') } })
  expect(vectorsOf(await embed(workers, goodRequest))).toEqual(goodVectors)
})

test('a body without a length is counted as it arrives, and refused past 20 MiB', async () => {
  const chunk = new Uint8Array(1024 * 1024).fill(0x20)
  let sent = 0
  const body = new ReadableStream<Uint8Array>({
    pull(controller) {
      sent += 1
      if (sent > 21) controller.close()
      else controller.enqueue(chunk)
    },
  })
  const response = await workers.fetch('/v1/embeddings', {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body,
    duplex: 'half',
  })
  await expectRefusal(response, { status: 413, code: 'body_too_large', message: '20 MiB' })
})

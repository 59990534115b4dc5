// The model package out of R2, in workerd with its local bucket: what is missing, wrong or breaks off, and the way back.

import { globSync, mkdtempSync, rmSync, statSync, truncateSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { EmbeddingsResponseSchema } from '../../src/handlers/embeddings-schema.ts'
import { MODEL, post, vectorsOf } from '../embedding-client.ts'
import {
  packageOf,
  safetensorsFile,
  sha256,
  tinyPackage,
  type FileTensor,
  type TinyPackage,
} from '../flava/tiny-package.ts'
import { tinyTokenizer } from '../flava/tiny-tokenizer.ts'
import { startWorkers, type ModelBucket, type RunningWorkers } from '../harness.ts'

const CONFIG_KEY = 'models/tiny/config.json'
const PACKAGE = tinyPackage()
const TEXT_KEY = `sha256/${PACKAGE.manifest.files.text.sha256}`

let directory: string
let workers: RunningWorkers
let bucket: ModelBucket

beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), 'flava-r2-'))
  await start()
})
afterEach(async () => {
  await workers.stop()
  rmSync(directory, { recursive: true })
})

async function start(): Promise<void> {
  const MAX_QUEUE = '32'
  workers = await startWorkers({ r2: { configKey: CONFIG_KEY, directory }, vars: { 'flava-edge-text': { MAX_QUEUE } } })
  bucket = await workers.modelBucket()
}

/** The same bucket, and new isolates. */
async function restart(): Promise<void> {
  await workers.stop()
  await start()
}

async function upload({ files }: TinyPackage): Promise<void> {
  for (const [name, bytes] of files) {
    await bucket.put(name === 'config.json' ? CONFIG_KEY : `sha256/${sha256(bytes)}`, bytes)
  }
}

async function readiness(): Promise<{ status: number; text: unknown; image: unknown }> {
  const response = await workers.fetch('/readyz')
  const body = await response.json()
  return { status: response.status, ...(isReadiness(body) ? encodersOf(body) : { text: body, image: body }) }
}

function isReadiness(body: unknown): body is { workers: { text_encoder: unknown; image_encoder: unknown } } {
  return typeof body === 'object' && body !== null && 'workers' in body
}

function encodersOf({ workers: states }: { workers: { text_encoder: unknown; image_encoder: unknown } }) {
  return { text: states.text_encoder, image: states.image_encoder }
}

function memoryOf(state: unknown): unknown {
  return typeof state === 'object' && state !== null && 'memory_bytes' in state ? state.memory_bytes : undefined
}

async function embedText(input: unknown): Promise<unknown> {
  const response = await post(workers, { model: MODEL, input })
  const body: unknown = await response.json()
  return response.status === 200 ? vectorsOf(EmbeddingsResponseSchema.parse(body)) : body
}

const refusal = (code: string, message: string) =>
  expect.objectContaining({ status: 'UNHEALTHY', code, message: expect.stringContaining(message) })

describe('a package in R2', () => {
  test('is served once its objects are there; until then nothing is ready, and nothing dies of it', async () => {
    const missing = refusal('model_unavailable', `config.json: expected an object ${CONFIG_KEY} in the bucket`)
    expect(await readiness()).toEqual({ status: 503, text: missing, image: missing })
    expect(await embedText('cat')).toMatchObject({ error: { code: 'model_unavailable', type: 'service_unavailable' } })
    expect((await workers.fetch('/livez')).status).toBe(200)

    const { files } = PACKAGE
    await upload({ ...PACKAGE, files: new Map([...files].filter(([name]) => name !== 'text.safetensors')) })
    expect(await readiness()).toEqual({
      status: 503,
      text: refusal('model_unavailable', `text.safetensors: expected an object ${TEXT_KEY} in the bucket, found none`),
      image: expect.objectContaining({ status: 'READY', variant: 'default' }),
    })

    await upload(PACKAGE)
    expect((await readiness()).status).toBe(200)
    expect(await embedText(['cat', 'dog'])).toHaveLength(2)
  })

  test('is loaded once for twenty concurrent first requests, which agree', async () => {
    await upload(PACKAGE)
    const vectors = await Promise.all(Array.from({ length: 20 }, () => embedText('cat')))
    for (const vector of vectors) expect(vector).toEqual(vectors[0])
    const { text } = await readiness()
    const loads = workers.logLines.filter(({ event, worker }) => event === 'model' && worker === 'text-encoder')
    expect(loads).toHaveLength(1)
    const size = PACKAGE.tensors.text.reduce((sum, { bytes }) => sum + Math.ceil(bytes.length / 16) * 16, 0)
    expect(text).toMatchObject({ weight_bytes: size, load_ms: expect.any(Number), warm_up_ms: expect.any(Number) })
  })

  test('of another size or content under the right key is refused, and loads when it is mended', async () => {
    await upload(PACKAGE)
    const bytes = PACKAGE.files.get('text.safetensors')!
    await bucket.put(TEXT_KEY, bytes.subarray(0, -1))
    const size = `expected ${bytes.length} bytes, the object in R2 has ${bytes.length - 1}`
    expect((await readiness()).text).toEqual(refusal('model_package_invalid', size))
    const flipped = bytes.slice()
    flipped[flipped.length - 1] = (flipped.at(-1) ?? 0) ^ 1
    await bucket.put(TEXT_KEY, flipped)
    expect((await readiness()).text).toEqual(refusal('model_package_invalid', 'text.safetensors: sha256: expected'))
    await bucket.put(TEXT_KEY, bytes)
    expect((await readiness()).status).toBe(200)
  })

  test('that stays wrong is not read again at once: who asks a third time is told when', async () => {
    await upload(PACKAGE)
    const flipped = PACKAGE.files.get('text.safetensors')!.slice()
    flipped[flipped.length - 1] = (flipped.at(-1) ?? 0) ^ 1
    await bucket.put(TEXT_KEY, flipped)
    const wrong = refusal('model_package_invalid', 'text.safetensors: sha256: expected')
    expect([(await readiness()).text, (await readiness()).text]).toEqual([wrong, wrong])
    // A machine slow enough to outlast the first pause meets the next, which is twice as long.
    let response = await post(workers, { model: MODEL, input: 'cat' })
    for (let i = 0; i < 4 && response.status === 500; i += 1) {
      response = await post(workers, { model: MODEL, input: 'cat' })
    }
    expect(response.status).toBe(503)
    expect(response.headers.get('retry-after')).toMatch(/^\d+$/)
    expect(await response.json()).toMatchObject({
      error: {
        code: 'model_load_paused',
        message: expect.stringMatching(/^text\.safetensors: sha256: expected .*; loaded again in \d+ s$/),
      },
    })
  })

  test('of a later format or with an unknown scheme is refused as just that', async () => {
    await upload(PACKAGE)
    const config = new TextDecoder().decode(PACKAGE.files.get('config.json'))
    await bucket.put(CONFIG_KEY, config.replace('"format_version":2', '"format_version":3'))
    const later = 'expected 2, got 3: update flava-edge'
    expect((await readiness()).text).toEqual(refusal('model_package_unsupported', later))
    await bucket.put(CONFIG_KEY, config.replace('"text_projection":"w', '"text_projection":"x'))
    expect((await readiness()).text).toEqual(
      refusal('model_package_unsupported', 'schemes.text_projection: expected one'),
    )
    await bucket.put(CONFIG_KEY, config)
    expect((await readiness()).status).toBe(200)
  })

  test('that breaks off while it is read is tried again', async () => {
    await upload(PACKAGE)
    await workers.stop()
    // The bucket keeps its objects as files: one that lost its second half breaks off there, whatever its record says.
    const bytes = PACKAGE.files.get('text.safetensors')!
    const blob = globSync(join(directory, '**/blobs/*')).find((path) => statSync(path).size === bytes.length)
    if (blob === undefined) throw new Error(`${directory}: expected a file of ${bytes.length} bytes`)
    truncateSync(blob, bytes.length / 2)
    await start()
    expect((await readiness()).text).toMatchObject({ status: 'UNHEALTHY', code: expect.stringMatching(/^model_/) })
    await bucket.put(TEXT_KEY, bytes)
    expect((await readiness()).status).toBe(200)
  })

  test('with a tokenizer that is not the promised one is refused', async () => {
    await upload(PACKAGE)
    const { sha256: hash, sizeBytes } = PACKAGE.manifest.files.tokenizer
    await bucket.put(`sha256/${hash}`, '{}'.padEnd(sizeBytes))
    expect((await readiness()).text).toEqual(refusal('model_package_invalid', 'tokenizer.json: sha256: expected'))
  })

  test('whose tokenizer gives ids that have no row is refused before any of its weights are read', async () => {
    const { vocabSize } = PACKAGE.manifest.text
    const { files } = tinyPackage({ tokenizer: tinyTokenizer(vocabSize + 1) })
    await upload({ ...PACKAGE, files: new Map([...files].filter(([name]) => name !== 'text.safetensors')) })
    const expected = 'tokenizer.json: "w50": expected an id below vocab_size (50), got 50'
    expect((await readiness()).text).toEqual(refusal('model_package_invalid', expected))
  })

  test('whose hashes are right and whose vectors are not numbers is refused, and leaves its memory to the next', async () => {
    await upload(PACKAGE)
    const { text: sound } = await readiness()
    await restart()
    const withBias = (value: number) => (tensor: FileTensor) =>
      tensor.name.endsWith('_projection.bias')
        ? { ...tensor, bytes: new Uint8Array(new Float32Array(tensor.shape[0] ?? 0).fill(value).buffer) }
        : tensor
    const { text, image } = PACKAGE.tensors
    await upload(
      packageOf(
        {},
        {
          text: safetensorsFile(text.map(withBias(Number.NaN))),
          image: safetensorsFile(image.map(withBias(Number.POSITIVE_INFINITY))),
        },
      ),
    )
    const expected = 'vector of the warm-up: expected finite numbers that are not all 0'
    expect(await readiness()).toEqual({
      status: 503,
      text: refusal('model_package_invalid', `text.safetensors: ${expected}`),
      image: refusal('model_package_invalid', `image.safetensors: ${expected}`),
    })
    await upload(PACKAGE)
    expect((await readiness()).text).toMatchObject({ status: 'READY', memory_bytes: memoryOf(sound) })
  })

  test('replaced by one whose tensors do not parse keeps answering with what is loaded', async () => {
    await upload(PACKAGE)
    const before = await embedText('cat')
    const broken = packageOf({}, { text: Uint8Array.of(1, 2, 3), image: Uint8Array.of(4, 5, 6) })
    await upload(broken)
    expect(await embedText('cat')).toEqual(before)
  })
})

describe('settings of a source', () => {
  test('that name none are refused by name', async () => {
    await workers.stop()
    const MODEL_SOURCE = 'kv'
    workers = await startWorkers({ r2: { configKey: '' }, vars: { 'flava-edge-image': { MODEL_SOURCE } } })
    const { status, text, image } = await readiness()
    expect(status).toBe(503)
    expect(text).toEqual(refusal('misconfigured', 'MODEL_CONFIG_KEY: expected it'))
    expect(image).toEqual(refusal('misconfigured', 'MODEL_SOURCE: expected "assets" or "r2", got "kv"'))
  })
})

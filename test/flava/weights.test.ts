// Loading: exact copies of the tensors, and memory given back whenever the file is not the promised one.
import { describe, expect, test } from 'vitest'
import { AppError, ModelUnavailableError } from '../../src/errors.ts'
import type { ModelManifest } from '../../src/flava/manifest.ts'
import { loadManifest, readPackageJson } from '../../src/flava/package-source.ts'
import type { PackageSource } from '../../src/flava/package-source.ts'
import { loadTensors } from '../../src/flava/weights.ts'
import { createSha256 } from '../../tools/model/sha256.ts'
import { newKernels } from '../wasm/load-kernels.ts'
import { packageOf, safetensorsFile, sha256, streamOf, tinyPackage } from './tiny-package.ts'
import type { FileTensor, TinyPackage } from './tiny-package.ts'

const PACKAGE = tinyPackage()
const { manifest, tensors } = PACKAGE
const TEXT_FILE = fileOf(PACKAGE, 'text.safetensors')
const IMAGE_FILE = fileOf(PACKAGE, 'image.safetensors')
const PAGE_BYTES = 65536

function fileOf({ files }: TinyPackage, name: string): Uint8Array {
  const bytes = files.get(name)
  if (!bytes) throw new Error(`${name}: expected it in the package`)
  return bytes
}

/** The message of the refusal; the manifest vouches for the file's hash, so that only the content is at fault. */
async function refusal(imageTensors: readonly FileTensor[]): Promise<string> {
  const image = safetensorsFile(imageTensors)
  return await refusalOf(image, packageOf({}, { text: TEXT_FILE, image }).manifest)
}

async function refusalOf(file: Uint8Array, expected: ModelManifest = manifest): Promise<string> {
  const kernels = newKernels('simd128')
  const before = kernels.arena.usedBytes
  try {
    await loadTensors(kernels, expected, 'image', streamOf(file), createSha256)
  } catch (error) {
    if (kernels.arena.usedBytes !== before) throw new Error('the refused load kept its memory', { cause: error })
    if (error instanceof AppError && error.code === 'model_package_invalid') return error.message
    throw error
  }
  throw new Error('expected the file to be refused')
}

function changed(name: string, fields: Partial<FileTensor>): FileTensor[] {
  return tensors.image.map((tensor) => (tensor.name === name ? { ...tensor, ...fields } : tensor))
}

describe('loadTensors', () => {
  test.each([1, 997, 1_000_000])('copies every tensor byte for byte from chunks of %i bytes', async (chunkSize) => {
    const kernels = newKernels('simd128')
    const table = await loadTensors(kernels, manifest, 'text', streamOf(TEXT_FILE, chunkSize), createSha256)
    for (const { name, bytes } of tensors.text) {
      expect(Buffer.from(kernels.u8(table.ptr(name), bytes.length)).equals(bytes)).toBe(true)
      expect(table.ptr(name) % 16).toBe(0)
    }
    expect(table.footprint.largestChunkBytes).toBe(Math.min(chunkSize, TEXT_FILE.length))
    expect(() => table.ptr('image_projection.bias')).toThrow('image_projection.bias: not in this file')
  })

  test('grows linear memory once, by the tensors and their alignment', async () => {
    const kernels = newKernels('simd128')
    let grown = 0
    const grow = kernels.memory.grow.bind(kernels.memory)
    kernels.memory.grow = (pages) => ((grown += 1), grow(pages))
    const before = kernels.arena.usedBytes
    const { footprint } = await loadTensors(kernels, manifest, 'image', streamOf(IMAGE_FILE), createSha256)
    const bytes = tensors.image.reduce((sum, tensor) => sum + tensor.bytes.length, 0)
    expect(bytes).toBeGreaterThan(PAGE_BYTES)
    expect(grown).toBe(1)
    expect(footprint.weightBytes).toBeGreaterThanOrEqual(bytes)
    expect(footprint.weightBytes).toBeLessThanOrEqual(bytes + 16 * tensors.image.length)
    expect(kernels.arena.usedBytes - before - footprint.weightBytes).toBeLessThan(16)
  })

  test('gives a Linear its scheme and shape with its three pointers', async () => {
    const table = await loadTensors(newKernels('simd128'), manifest, 'text', streamOf(TEXT_FILE), createSha256)
    const name = 'text_model.encoder.layer.1.intermediate.dense'
    expect(table.linear(name)).toMatchObject({ scheme: manifest.schemes.linears[name], n: 128, k: 64 })
    expect(table.linear(name).biasPtr).toBe(table.ptr(`${name}.bias`))
  })

  test('refuses a file whose sha256 is not the one in the manifest, even for one bit', async () => {
    const file = IMAGE_FILE.slice()
    file[file.length - 1] = (file.at(-1) ?? 0) ^ 1
    const expected = `image.safetensors: sha256: expected ${sha256(IMAGE_FILE)}, got ${sha256(file)}`
    expect(await refusalOf(file)).toBe(expected)
  })

  test('refuses truncated and overlong files', async () => {
    const size = IMAGE_FILE.length
    expect(await refusalOf(IMAGE_FILE.subarray(0, -5))).toContain(`truncated: expected ${size} bytes, got ${size - 5}`)
    expect(await refusalOf(new Uint8Array([...IMAGE_FILE, 0]))).toContain(`expected ${size} bytes, got more`)
  })

  test('refuses missing, unknown and misshapen tensors by name', async () => {
    const bias = 'image_projection.bias'
    const renamed = changed(bias, { name: 'image_projection.bios' })
    expect(await refusal(renamed)).toContain('image_projection.bios: not a tensor of this file')
    expect(await refusal(tensors.image.slice(0, -1))).toContain(`${bias}: tensor is missing`)
    expect(await refusal(changed(bias, { shape: [4, 6] }))).toContain(`${bias}: expected F32 [24], got F32 [4, 6]`)
    const weight = 'image_model.embeddings.patch_embeddings.projection.weight'
    expect(await refusal(changed(weight, { dtype: 'I8' }))).toContain(
      `${weight}: expected U8 [128, 48], got I8 [128, 48]`,
    )
    expect(await refusal(tensors.text)).toContain('not a tensor of this file')
  })

  test('refuses weights whose identity is not that of the two files', async () => {
    const wrong = { ...manifest, weights: 'f'.repeat(64) }
    expect(await refusalOf(IMAGE_FILE, wrong)).toMatch(
      /^config\.json: flava_edge\.weights: expected [0-9a-f]{64} by the files' hashes, got f{64}$/,
    )
  })

  test('refuses tensors that do not fit the memory before taking any', async () => {
    const kernels = newKernels('simd128', 2 * PAGE_BYTES)
    const before = kernels.arena.usedBytes
    const load = loadTensors(kernels, manifest, 'image', streamOf(IMAGE_FILE), createSha256)
    await expect(load).rejects.toThrow(
      /image\.safetensors: expected tensors of at most \d+ bytes, which is what linear/,
    )
    expect(kernels.arena.usedBytes).toBe(before)
    expect(kernels.arena.highWaterBytes).toBe(before)
  })

  test('refuses tensors that leave no room for an input of full length', async () => {
    const { footprint } = await loadTensors(
      newKernels('simd128'),
      manifest,
      'image',
      streamOf(IMAGE_FILE),
      createSha256,
    )
    const kernels = newKernels('simd128')
    kernels.arena.alloc(kernels.arena.freeBytes - footprint.weightBytes - 1000)
    const load = loadTensors(kernels, manifest, 'image', streamOf(IMAGE_FILE), createSha256)
    await expect(load).rejects.toMatchObject({
      code: 'model_package_invalid',
      message: expect.stringMatching(
        /at most \d+ bytes, which is what linear memory has beside an input of 10 tokens, got/,
      ),
    })
  })

  test('refuses a weight of eight bits where seven are promised, under whatever hash', async () => {
    const name = 'image_model.embeddings.patch_embeddings.projection'
    expect(manifest.schemes.linears[name]).toBe('w7')
    const bytes = tensors.image.find((tensor) => tensor.name === `${name}.weight`)!.bytes.slice()
    bytes[77] = 128
    const expected = `image.safetensors: ${name}.weight: expected bytes below 128 for w7, got larger ones`
    expect(await refusal(changed(`${name}.weight`, { bytes }))).toBe(expected)
  })

  test('reports a stream that breaks off as not available, gives the memory back and loads into it the next time', async () => {
    const kernels = newKernels('simd128')
    const before = kernels.arena.usedBytes
    const broken = loadTensors(kernels, manifest, 'image', brokenStream(IMAGE_FILE), createSha256)
    await expect(broken).rejects.toThrow(
      expect.objectContaining({ code: 'model_unavailable', status: 503, cause: new Error('connection lost') }),
    )
    expect(kernels.arena.usedBytes).toBe(before)
    const grownBytes = kernels.memory.buffer.byteLength
    await loadTensors(kernels, manifest, 'image', streamOf(IMAGE_FILE), createSha256)
    expect(kernels.memory.buffer.byteLength).toBe(grownBytes)
  })
})

describe('a load that is not wanted any more', () => {
  test('writes nothing into the memory of the next one, and does not give that back', async () => {
    const kernels = newKernels('simd128')
    const empty = kernels.arena.mark()
    let isWanted = true
    let wake = (): void => undefined
    const asleep = new Promise<void>((resolve) => (wake = resolve))
    // The first load stops in the middle of its file, as one does whose source stands still.
    const slow = sleepingStream(IMAGE_FILE, asleep)
    const first = loadTensors(kernels, manifest, 'image', slow, createSha256, () => isWanted)
    await new Promise((resolve) => setImmediate(resolve))
    isWanted = false
    kernels.arena.release(empty)
    const table = await loadTensors(kernels, manifest, 'image', streamOf(IMAGE_FILE), createSha256)
    const used = kernels.arena.usedBytes
    wake()
    await expect(first).rejects.toMatchObject({
      code: 'model_unavailable',
      message: expect.stringContaining('given up'),
    })
    expect(kernels.arena.usedBytes).toBe(used)
    for (const { name, bytes } of tensors.image) {
      expect(Buffer.from(kernels.u8(table.ptr(name), bytes.length)).equals(bytes)).toBe(true)
    }
  })
})

describe('the small files', () => {
  test('make the manifest, each held to its hash', async () => {
    expect(await loadManifest(sourceOf(PACKAGE.files), createSha256)).toEqual(manifest)
    const files = new Map(PACKAGE.files).set('preprocessor_config.json', new TextEncoder().encode('{}'))
    await expect(loadManifest(sourceOf(files), createSha256)).rejects.toThrow(/preprocessor_config\.json: truncated/)
  })

  test('are refused with one flipped bit, and when they are no JSON', async () => {
    const tokenizer = fileOf(PACKAGE, 'tokenizer.json').slice()
    tokenizer[5] = (tokenizer[5] ?? 0) ^ 1
    const files = new Map(PACKAGE.files).set('tokenizer.json', tokenizer)
    const read = readPackageJson(sourceOf(files), manifest.files.tokenizer, createSha256)
    await expect(read).rejects.toThrow(/^tokenizer\.json: sha256: expected/)
    const config = new Map([['config.json', Uint8Array.of(0x7b, 0xff)]])
    await expect(loadManifest(sourceOf(config), createSha256)).rejects.toThrow('config.json: expected JSON in UTF-8')
  })

  test('take the memory of what arrives, not of what was promised', async () => {
    const { tokenizer } = manifest.files
    const promised = { ...tokenizer, sizeBytes: 1e15 }
    await expect(readPackageJson(sourceOf(PACKAGE.files), promised, createSha256)).rejects.toThrow(
      `tokenizer.json: truncated: expected 1000000000000000 bytes, got ${tokenizer.sizeBytes}`,
    )
  })

  test('are read no further than a config.json can be long, and broken off is not available', async () => {
    const config = new Map([['config.json', new Uint8Array(1024 * 1024 + 1).fill(0x20)]])
    await expect(loadManifest(sourceOf(config), createSha256)).rejects.toThrow(
      'config.json: expected at most 1048576 bytes, got more',
    )
    const broken = { ...sourceOf(PACKAGE.files), openConfig: async () => brokenStream(IMAGE_FILE) }
    await expect(loadManifest(broken, createSha256)).rejects.toMatchObject({ code: 'model_unavailable' })
  })
})

function sourceOf(files: ReadonlyMap<string, Uint8Array>): PackageSource {
  const bytesOf = (name: string): Uint8Array => {
    const bytes = files.get(name)
    if (!bytes) throw new ModelUnavailableError(`${name}: not there`)
    return bytes
  }
  return {
    openConfig: async () => streamOf(bytesOf('config.json')),
    open: async ({ name }) => streamOf(bytesOf(name)),
  }
}

/** The first half; once it may wake up, the inverted second half. */
function sleepingStream(file: Uint8Array, mayWake: Promise<void>): ReadableStream<Uint8Array> {
  const half = Math.floor(file.length / 2)
  let pulls = 0
  return new ReadableStream<Uint8Array>({
    async pull(controller) {
      pulls += 1
      if (pulls === 1) return controller.enqueue(file.slice(0, half))
      await mayWake
      controller.enqueue(file.slice(half).map((byte) => byte ^ 0xff))
      controller.close()
    },
  })
}

/** The first 15,000 bytes, then a failure. */
function brokenStream(file: Uint8Array): ReadableStream<Uint8Array> {
  let pulls = 0
  return new ReadableStream<Uint8Array>({
    pull(controller) {
      pulls += 1
      if (pulls > 3) controller.error(new Error('connection lost'))
      else controller.enqueue(file.slice((pulls - 1) * 5000, pulls * 5000))
    },
  })
}

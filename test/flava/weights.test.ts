// Loading: exact copies of the wanted tensors, and memory given back whenever the file is not the promised one.
import { describe, expect, test } from 'vitest'
import { ModelPackageError } from '../../src/errors.ts'
import { imageTensors, textTensors } from '../../src/flava/package-layout.ts'
import { loadTensors } from '../../src/flava/weights.ts'
import { createSha256 } from '../../tools/model/sha256.ts'
import { newKernels } from '../wasm/load-kernels.ts'
import { FILE_METADATA, safetensorsFile, sha256, streamOf, tinyPackage } from './tiny-package.ts'
import type { FileTensor } from './tiny-package.ts'

const PACKAGE = tinyPackage()

/** The message of the refusal; the manifest vouches for the file's hash, so that only the content is at fault. */
async function refusal(tensors: readonly FileTensor[], metadata: unknown = FILE_METADATA): Promise<string> {
  const file = safetensorsFile(tensors, metadata)
  return refusalOf(file, { ...PACKAGE.manifest, weights: sha256(file) })
}

async function refusalOf(file: Uint8Array, manifest = PACKAGE.manifest): Promise<string> {
  const kernels = newKernels('simd128')
  const before = kernels.arena.usedBytes
  try {
    await loadTensors(kernels, manifest, textTensors(manifest), streamOf(file), createSha256)
  } catch (error) {
    if (kernels.arena.usedBytes !== before) throw new Error('the refused load kept its memory', { cause: error })
    if (error instanceof ModelPackageError) return error.message
    throw error
  }
  throw new Error('expected the file to be refused')
}

function changed(name: string, fields: Partial<FileTensor>): FileTensor[] {
  return PACKAGE.tensors.map((tensor) => (tensor.name === name ? { ...tensor, ...fields } : tensor))
}

describe('loadTensors', () => {
  test.each([1, 997, 1_000_000])(
    'copies every wanted tensor byte for byte from chunks of %i bytes',
    async (chunkSize) => {
      const kernels = newKernels('simd128')
      const { manifest, tensors, file } = PACKAGE
      const wanted = textTensors(manifest)
      const table = await loadTensors(kernels, manifest, wanted, streamOf(file, chunkSize), createSha256)
      for (const { name, bytes } of tensors.filter((tensor) => wanted.has(tensor.name))) {
        expect(Buffer.from(kernels.u8(table.ptr(name), bytes.length)).equals(bytes)).toBe(true)
      }
      expect(() => table.ptr('image_projection.bias')).toThrow('image_projection.bias: not loaded for this encoder')
    },
  )

  test('takes linear memory for the wanted tensors only', async () => {
    const kernels = newKernels('simd128')
    const { manifest, tensors, file } = PACKAGE
    const wanted = imageTensors(manifest)
    const before = kernels.arena.usedBytes
    await loadTensors(kernels, manifest, wanted, streamOf(file), createSha256)
    const used = kernels.arena.usedBytes - before
    const chosen = tensors.filter(({ name }) => wanted.has(name))
    const bytes = chosen.reduce((sum, tensor) => sum + tensor.bytes.length, 0)
    // Each tensor may be padded to the arena's alignment.
    expect(used).toBeLessThanOrEqual(bytes + 16 * chosen.length)
    expect(used).toBeGreaterThanOrEqual(bytes)
  })

  test('gives the shape of a Linear with its three pointers', async () => {
    const kernels = newKernels('simd128')
    const { manifest, file } = PACKAGE
    const table = await loadTensors(kernels, manifest, textTensors(manifest), streamOf(file), createSha256)
    const linear = table.linear('text_model.encoder.layer.1.intermediate.dense')
    expect(linear).toMatchObject({ n: 40, k: 32 })
    expect(linear.biasPtr).toBe(table.ptr('text_model.encoder.layer.1.intermediate.dense.bias'))
  })

  test('refuses a file whose sha256 is not the one in the manifest, even for one bit', async () => {
    const file = PACKAGE.file.slice()
    file[file.length - 1] = (file.at(-1) ?? 0) ^ 1
    const expected = `model.safetensors: sha256: expected ${PACKAGE.manifest.weights}, got ${sha256(file)}`
    expect(await refusalOf(file)).toBe(expected)
  })

  test('refuses truncated and overlong files', async () => {
    expect(await refusalOf(PACKAGE.file.subarray(0, -5))).toContain('truncated in image_projection.bias')
    expect(await refusalOf(new Uint8Array([...PACKAGE.file, 0]))).toContain('bytes after the last tensor')
  })

  test('refuses missing, unknown and misshapen tensors of either encoder by name', async () => {
    const bias = 'image_projection.bias'
    const renamed = changed(bias, { name: 'image_projection.bios' })
    expect(await refusal(renamed)).toContain('image_projection.bios: not a tensor of this package')
    expect(await refusal(PACKAGE.tensors.slice(0, -1))).toContain(`${bias}: tensor is missing`)
    expect(await refusal(changed(bias, { shape: [4, 6] }))).toContain(`${bias}: expected F32 [24], got F32 [4, 6]`)
    const weight = 'text_projection.weight'
    expect(await refusal(changed(weight, { dtype: 'I8' }))).toContain(
      `${weight}: expected U8 [24, 32], got I8 [24, 32]`,
    )
  })

  test('refuses metadata of another format, version or scheme', async () => {
    const wrong = (fields: object) => refusal(PACKAGE.tensors, { ...FILE_METADATA, ...fields })
    expect(await wrong({ format: 'pt' })).toContain('__metadata__.format: expected flava-edge, got pt')
    expect(await wrong({ format_version: '2' })).toContain('__metadata__.format_version: expected 1, got 2')
    expect(await wrong({ scheme: undefined })).toContain('__metadata__.scheme: expected w7a8, got nothing')
  })

  test('passes on the failure of the stream and gives the memory back', async () => {
    const kernels = newKernels('simd128')
    const before = kernels.arena.usedBytes
    let pulls = 0
    const broken = new ReadableStream<Uint8Array>({
      pull(controller) {
        pulls += 1
        if (pulls > 3) controller.error(new Error('connection lost'))
        else controller.enqueue(PACKAGE.file.slice((pulls - 1) * 5000, pulls * 5000))
      },
    })
    const load = loadTensors(kernels, PACKAGE.manifest, textTensors(PACKAGE.manifest), broken, createSha256)
    await expect(load).rejects.toThrow('connection lost')
    expect(kernels.arena.usedBytes).toBe(before)
  })
})

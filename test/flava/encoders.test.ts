// What holds for any weights: packing, batching, outputs, memory and refusals, on a tiny random package.
import { beforeAll, describe, expect, test } from 'vitest'
import { encodeImage, flattenPatches, loadImageEncoder } from '../../src/flava/image-encoder.ts'
import type { FlavaImageEncoder } from '../../src/flava/image-encoder.ts'
import type { EncoderOutput } from '../../src/flava/encoder-output.ts'
import { encodeText, loadTextEncoder } from '../../src/flava/text-encoder.ts'
import type { FlavaTextEncoder, TokenSequence } from '../../src/flava/text-encoder.ts'
import type { KernelBuild } from '../../src/wasm/kernels.ts'
import { createSha256 } from '../../tools/model/sha256.ts'
import { MIB, newKernels } from '../wasm/load-kernels.ts'
import { randomNormal } from '../wasm/random.ts'
import { streamOf, tinyPackage } from './tiny-package.ts'

const PACKAGE = tinyPackage()
const OUTPUTS: readonly EncoderOutput[] = ['projected', 'cls', 'hidden', 'preNorm', 'layers']
const TEXT_SIZE = 64
const IMAGE_SIZE = 128
const PICTURE_VALUES = 3 * 12 * 12
const SEQUENCES: readonly TokenSequence[] = [
  { inputIds: [2, 17, 3] },
  { inputIds: Int32Array.of(2, 49, 0, 31, 8, 3), tokenTypeIds: [0, 0, 0, 1, 1, 1] },
  { inputIds: [2] },
  { inputIds: [2, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 3] },
]

const textStream = () => streamOf(PACKAGE.files.get('text.safetensors')!)
const imageStream = () => streamOf(PACKAGE.files.get('image.safetensors')!)

async function loadText(build: KernelBuild, maxBytes?: number): Promise<FlavaTextEncoder> {
  return loadTextEncoder(newKernels(build, maxBytes), PACKAGE.manifest, textStream(), createSha256)
}

async function loadImage(build: KernelBuild): Promise<FlavaImageEncoder> {
  return loadImageEncoder(newKernels(build), PACKAGE.manifest, imageStream(), createSha256)
}

function bits(values: Float32Array): Uint32Array {
  return new Uint32Array(values.buffer, values.byteOffset, values.length)
}

describe('encodeText', () => {
  let encoder: FlavaTextEncoder
  beforeAll(async () => {
    encoder = await loadText('relaxed-simd')
  })

  test.each(OUTPUTS)('gives %s bit for bit the same packed with others as alone', (output) => {
    const packed = encodeText(encoder, SEQUENCES, output)
    SEQUENCES.forEach((sequence, index) => {
      const [alone] = encodeText(encoder, [sequence], output)
      expect(packed[index]?.shape).toEqual(alone?.shape)
      expect(bits(packed[index]!.data)).toEqual(bits(alone!.data))
    })
  })

  test.each(OUTPUTS)('gives %s bit for bit the same in both kernel builds', async (output) => {
    const twin = await loadText('simd128')
    const [ours, theirs] = [encodeText(encoder, SEQUENCES, output), encodeText(twin, SEQUENCES, output)]
    ours.forEach(({ data }, index) => expect(bits(data)).toEqual(bits(theirs[index]!.data)))
  })

  test('gives shapes by output, and cls is the first row of hidden', () => {
    const [projected] = encodeText(encoder, SEQUENCES, 'projected')
    const [cls] = encodeText(encoder, SEQUENCES, 'cls')
    const [hidden] = encodeText(encoder, SEQUENCES, 'hidden')
    const [preNorm] = encodeText(encoder, SEQUENCES, 'preNorm')
    const shapes = [[24], [TEXT_SIZE], [3, TEXT_SIZE], [3, TEXT_SIZE]]
    expect([projected, cls, hidden, preNorm].map((item) => item?.shape)).toEqual(shapes)
    expect(bits(preNorm!.data)).not.toEqual(bits(hidden!.data))
  })

  test('runs the last block for token 0 alone to the same bits as for all tokens', () => {
    const [cls, hidden] = [encodeText(encoder, SEQUENCES, 'cls'), encodeText(encoder, SEQUENCES, 'hidden')]
    cls.forEach(({ data }, index) => expect(bits(data)).toEqual(bits(hidden[index]!.data.slice(0, TEXT_SIZE))))
  })

  test('shows token 0 before the first block and after each, the last one as preNorm has it', () => {
    const [layers, preNorm] = [encodeText(encoder, SEQUENCES, 'layers'), encodeText(encoder, SEQUENCES, 'preNorm')]
    layers.forEach(({ data, shape }, index) => {
      expect(shape).toEqual([3, TEXT_SIZE])
      expect(bits(data.slice(2 * TEXT_SIZE))).toEqual(bits(preNorm[index]!.data.slice(0, TEXT_SIZE)))
      expect(bits(data.slice(0, TEXT_SIZE))).not.toEqual(bits(data.slice(TEXT_SIZE, 2 * TEXT_SIZE)))
    })
  })

  test('takes missing token types as zeros and feels others', () => {
    const inputIds = [2, 7, 8, 3]
    const [none] = encodeText(encoder, [{ inputIds }], 'projected')
    const [zeros] = encodeText(encoder, [{ inputIds, tokenTypeIds: [0, 0, 0, 0] }], 'projected')
    const [ones] = encodeText(encoder, [{ inputIds, tokenTypeIds: [0, 0, 1, 1] }], 'projected')
    expect(bits(none!.data)).toEqual(bits(zeros!.data))
    expect(bits(none!.data)).not.toEqual(bits(ones!.data))
  })

  test('gives nothing for nothing', () => {
    expect(encodeText(encoder, [], 'projected')).toEqual([])
  })

  test('gives its working memory back, also after a batch too large for it', async () => {
    const small = await loadText('simd128', MIB)
    const before = small.kernels.arena.usedBytes
    encodeText(small, SEQUENCES, 'hidden')
    expect(small.kernels.arena.usedBytes).toBe(before)
    const many = Array.from({ length: 500 }, () => SEQUENCES[3]!)
    expect(() => encodeText(small, many, 'hidden')).toThrow(expect.objectContaining({ code: 'out_of_memory' }))
    expect(small.kernels.arena.usedBytes).toBe(before)
    expect(encodeText(small, SEQUENCES, 'projected')).toHaveLength(SEQUENCES.length)
  })

  test.each([
    [{ inputIds: [] }, 'invalid_input', 'inputIds: expected at least one token'],
    [{ inputIds: [2, 50] }, 'invalid_input', 'inputIds: expected integers from 0 to 49, got 50'],
    [{ inputIds: [-1] }, 'invalid_input', 'from 0 to 49, got -1'],
    [{ inputIds: [1.5] }, 'invalid_input', 'got 1.5'],
    [{ inputIds: [2, 3], tokenTypeIds: [0] }, 'invalid_input', 'tokenTypeIds: expected one per token (2), got 1'],
    [{ inputIds: [2, 3], tokenTypeIds: [0, 2] }, 'invalid_input', 'tokenTypeIds: expected integers from 0 to 1, got 2'],
    [{ inputIds: Array.from({ length: 13 }, () => 4) }, 'input_too_long', 'at most 12 tokens, got 13'],
  ])('refuses %j with %s', (sequence, code, message) => {
    expect(() => encodeText(encoder, [SEQUENCES[0]!, sequence], 'projected')).toThrow(
      expect.objectContaining({ code, message: expect.stringContaining(message) }),
    )
  })
})

describe('encodeImage', () => {
  const pixelValues = randomNormal(5, 3 * PICTURE_VALUES)
  let encoder: FlavaImageEncoder
  beforeAll(async () => {
    encoder = await loadImage('relaxed-simd')
  })

  test.each(OUTPUTS)('gives %s bit for bit the same packed with others as alone', (output) => {
    const packed = encodeImage(encoder, pixelValues, 3, output)
    packed.forEach(({ data, shape }, index) => {
      const picture = pixelValues.subarray(index * PICTURE_VALUES, (index + 1) * PICTURE_VALUES)
      const [alone] = encodeImage(encoder, picture, 1, output)
      expect(alone?.shape).toEqual(shape)
      expect(bits(alone!.data)).toEqual(bits(data))
    })
  })

  test.each(OUTPUTS)('gives %s bit for bit the same in both kernel builds', async (output) => {
    const twin = await loadImage('simd128')
    const ours = encodeImage(encoder, pixelValues, 3, output)
    const theirs = encodeImage(twin, pixelValues, 3, output)
    ours.forEach(({ data }, index) => expect(bits(data)).toEqual(bits(theirs[index]!.data)))
  })

  test('gives one token more than there are patches', () => {
    expect(encodeImage(encoder, pixelValues, 3, 'hidden').map(({ shape }) => shape)).toEqual([
      [10, IMAGE_SIZE],
      [10, IMAGE_SIZE],
      [10, IMAGE_SIZE],
    ])
    expect(encodeImage(encoder, pixelValues, 3, 'projected')[2]?.shape).toEqual([24])
  })

  test('runs the last block for token 0 alone to the same bits as for all tokens', () => {
    const [cls, hidden] = [encodeImage(encoder, pixelValues, 3, 'cls'), encodeImage(encoder, pixelValues, 3, 'hidden')]
    cls.forEach(({ data }, index) => expect(bits(data)).toEqual(bits(hidden[index]!.data.slice(0, IMAGE_SIZE))))
  })

  test('gives nothing for nothing and its working memory back', () => {
    const before = encoder.kernels.arena.usedBytes
    expect(encodeImage(encoder, new Float32Array(0), 0, 'projected')).toEqual([])
    encodeImage(encoder, pixelValues, 3, 'projected')
    expect(encoder.kernels.arena.usedBytes).toBe(before)
  })

  test('refuses pixel values of another size', () => {
    expect(() => encodeImage(encoder, pixelValues, 2, 'projected')).toThrow(
      expect.objectContaining({ code: 'shape_mismatch', message: expect.stringContaining('[2, 3, 12, 12]') }),
    )
  })
})

test('flattenPatches orders patches row by row and their values by channel, dy, dx', () => {
  const config = { ...PACKAGE.manifest.image, imageSize: 4, patchSize: 2, numPatches: 4 }
  // Each value tells where it came from: picture, channel, y and x as digits.
  const source = Array.from({ length: 2 * 3 * 4 * 4 }, (_, at) => {
    const [picture, channel, y, x] = [Math.floor(at / 48), Math.floor(at / 16) % 3, Math.floor(at / 4) % 4, at % 4]
    return picture * 1000 + channel * 100 + y * 10 + x
  })
  const out = new Float32Array(source.length)
  flattenPatches(Float32Array.from(source), 2, config, out)
  expect([...out.subarray(0, 12)]).toEqual([0, 1, 10, 11, 100, 101, 110, 111, 200, 201, 210, 211])
  expect([...out.subarray(12, 16)]).toEqual([2, 3, 12, 13])
  expect([...out.subarray(24, 28)]).toEqual([20, 21, 30, 31])
  expect([...out.subarray(48, 52)]).toEqual([1000, 1001, 1010, 1011])
})

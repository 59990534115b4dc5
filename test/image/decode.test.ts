// Decoding from files: against Pillow's pixels, and every refusal followed by a decode that works.

import { describe, expect, it } from 'vitest'
import { AppError, CorruptImageError, ImageTooLargeError, UnsupportedImageError } from '../../src/errors.ts'
import { decodeAndResize, decodeImage } from '../../src/image/decode.ts'
import { resizeBicubic } from '../../src/image/resize.ts'
import {
  LIMITS,
  concat,
  expected,
  fixture,
  jpegWithSize,
  latin1,
  manifest,
  newDecoders,
  pngChunk,
  pngWithSize,
} from './fixtures.ts'

const decoders = newDecoders()

/**
 * Largest difference allowed between a decoded JPEG or WebP byte and Pillow's. Found on all fixtures with the pinned
 * versions: 0 (same integer transforms and upsampling in libjpeg-turbo and libwebp as in their WASM builds). 2 leaves
 * room for another platform's SIMD build of Pillow, and would still catch a wrong upsampling or colour matrix.
 */
const CODEC_TOLERANCE = 2

function difference(actual: Uint8Array, wanted: Uint8Array): { max: number; mean: number } {
  expect(actual.length).toBe(wanted.length)
  let max = 0
  let sum = 0
  for (let index = 0; index < wanted.length; index++) {
    const off = Math.abs(actual[index]! - wanted[index]!)
    max = Math.max(max, off)
    sum += off
  }
  return { max, mean: sum / wanted.length }
}

async function expectNextDecodeWorks(): Promise<void> {
  for (const file of ['png-rgb-8.png', 'jpeg-420-odd.jpeg', 'webp-1x1.webp']) {
    const { data, width, height } = await decodeImage(fixture(file), decoders, LIMITS)
    expect(data.length).toBe(width * height * 3)
  }
}

describe('decodeImage of PNG', () => {
  it.each(manifest.pngVariants)('gives $file exactly as the $reference reference does', async (picture) => {
    const { data, width, height } = await decodeImage(fixture(picture.file), decoders, LIMITS)
    expect([width, height]).toEqual([picture.width, picture.height])
    expect(data).toEqual(expected(picture.offset, width * height * 3))
  })

  it('leaves profiles and text out: one that would inflate to 64 MiB costs no memory', async () => {
    const { deflateSync } = await import('node:zlib')
    const profile = concat([latin1('bomb\0\0'), deflateSync(new Uint8Array(64 * 1024 * 1024), { level: 9 })])
    const plain = fixture('png-rgb-8.png')
    const bomb = concat([plain.subarray(0, 33), pngChunk('iCCP', profile), plain.subarray(33)])
    const fresh = newDecoders()
    const { data } = await decodeImage(bomb, fresh, LIMITS)
    expect(data).toEqual((await decodeImage(plain, fresh, LIMITS)).data)
    expect(fresh.memoryBytes()).toBeLessThan(4 * 1024 * 1024)
  })
})

describe('decodeImage of JPEG and WebP', () => {
  it.each(manifest.codecs)(`gives $file within ${CODEC_TOLERANCE} of Pillow's decoder`, async ({ file, decoded }) => {
    const image = await decodeImage(fixture(file), decoders, LIMITS)
    const reference = await decodeImage(fixture(decoded), decoders, LIMITS)
    expect([image.width, image.height]).toEqual([reference.width, reference.height])
    expect(difference(image.data, reference.data).max).toBeLessThanOrEqual(CODEC_TOLERANCE)
  })

  it('differs from Pillow by 0.05 levels on average at most, over all files', async () => {
    const means: number[] = []
    for (const { file, decoded } of manifest.codecs) {
      const image = await decodeImage(fixture(file), decoders, LIMITS)
      means.push(difference(image.data, (await decodeImage(fixture(decoded), decoders, LIMITS)).data).mean)
    }
    const mean = means.reduce((sum, value) => sum + value, 0) / means.length
    expect(mean, `decoders differ from Pillow by ${mean} levels on average`).toBeLessThanOrEqual(0.05)
  })

  it('keeps nothing between pictures: the same bytes decode to the same pixels before and after others', async () => {
    const first = await decodeImage(fixture('jpeg-progressive-444.jpeg'), decoders, LIMITS)
    await decodeImage(fixture('webp-lossless.webp'), decoders, LIMITS)
    await decodeImage(fixture('jpeg-420-q10.jpeg'), decoders, LIMITS)
    expect(await decodeImage(fixture('jpeg-progressive-444.jpeg'), decoders, LIMITS)).toEqual(first)
  })
})

describe('EXIF orientation', () => {
  it.each(manifest.orientations)('of $file is applied as Pillow does, within the codec tolerance', async (picture) => {
    const image = await decodeImage(fixture(picture.file), decoders, LIMITS)
    const reference = await decodeImage(fixture(picture.decoded), decoders, LIMITS)
    expect([image.width, image.height]).toEqual(picture.orientation > 4 ? [16, 24] : [24, 16])
    expect(difference(image.data, reference.data).max).toBeLessThanOrEqual(CODEC_TOLERANCE)
  })
})

describe('decodeAndResize', () => {
  const files = [...manifest.codecs, ...manifest.orientations, ...manifest.pngVariants.slice(0, 6)]
  it.each(files)('of $file equals decodeImage and resizeBicubic in every byte', async ({ file }) => {
    const image = await decodeImage(fixture(file), decoders, LIMITS)
    const { rgb, width, height } = await decodeAndResize(fixture(file), decoders, LIMITS, 64)
    expect([width, height]).toEqual([image.width, image.height])
    expect(rgb).toEqual(resizeBicubic(image, 64, 64))
  })

  it('decodes a file that is a view into a larger buffer', async () => {
    const file = fixture('webp-q80.webp')
    const inside = concat([latin1('before'), file, latin1('after')]).subarray(6, 6 + file.length)
    const { rgb, format } = await decodeAndResize(inside, decoders, LIMITS, 8)
    expect(format).toBe('webp')
    expect(rgb).toEqual((await decodeAndResize(file, decoders, LIMITS, 8)).rgb)
  })
})

describe('refusals', () => {
  it.each(manifest.refused)('of $file are followed by a good decode', async ({ file, found }) => {
    const refusal = decodeImage(fixture(file), decoders, LIMITS)
    await expect(refusal).rejects.toThrow(UnsupportedImageError)
    await expect(refusal).rejects.toThrow(found)
    await expectNextDecodeWorks()
  })

  const whole = [
    'resize-72x72.png',
    'png-rgba-16-adam7.png',
    'jpeg-420-q75.jpeg',
    'jpeg-progressive-420.jpeg',
    'jpeg-restart.jpeg',
  ]
  const cut = [...whole, 'webp-q80.webp', 'webp-lossless.webp', 'webp-alpha-q70.webp', 'orientation-6.webp']
  it.each(cut)('of %s, cut at 30, 60 and 95 percent, say that it is damaged', async (file) => {
    const bytes = fixture(file)
    for (const share of [0.3, 0.6, 0.95]) {
      const refusal = decodeImage(bytes.subarray(0, bytes.length * share), decoders, LIMITS)
      await expect(refusal).rejects.toThrow(CorruptImageError)
    }
    await expectNextDecodeWorks()
  })

  it('of a JPEG cut inside but closed by an end marker come from libjpeg’s warning', async () => {
    for (const file of ['jpeg-420-q75.jpeg', 'jpeg-progressive-420.jpeg']) {
      const bytes = fixture(file)
      const closed = concat([bytes.subarray(0, bytes.length * 0.7), Uint8Array.of(0xff, 0xd9)])
      const refusal = decodeImage(closed, decoders, LIMITS)
      await expect(refusal).rejects.toThrow(/damaged JPEG: .*(Premature end|Corrupt JPEG data)/)
    }
    await expectNextDecodeWorks()
  })

  it('of a PNG whose data ends early or fails its checksum are refusals of a damaged file', async () => {
    const plain = fixture('resize-72x72.png')
    const flipped = plain.with(plain.length - 40, plain[plain.length - 40]! ^ 0xff)
    await expect(decodeImage(flipped, decoders, LIMITS)).rejects.toThrow(CorruptImageError)
    const hollow = pngWithSize(40, 40, [pngChunk('IDAT', new Uint8Array(0)), pngChunk('IEND', new Uint8Array(0))])
    await expect(decodeImage(hollow, decoders, LIMITS)).rejects.toThrow(CorruptImageError)
    const noData = pngWithSize(40, 40, [pngChunk('IEND', new Uint8Array(0))])
    await expect(decodeImage(noData, decoders, LIMITS)).rejects.toThrow(CorruptImageError)
    await expectNextDecodeWorks()
  })

  it('of bombs come from the header, before any decoder exists', async () => {
    const untouched = newDecoders()
    const png = pngWithSize(20_000, 20_000, [pngChunk('IDAT', new Uint8Array(64))])
    const jpeg = jpegWithSize(fixture('jpeg-420-q75.jpeg'), 65_500, 65_500)
    await expect(decodeImage(png, untouched, LIMITS)).rejects.toThrow('20000 x 20000 = 400000000 pixels')
    await expect(decodeImage(jpeg, untouched, LIMITS)).rejects.toThrow('65500 x 65500 = 4290250000 pixels')
    await expect(decodeImage(png, untouched, LIMITS)).rejects.toThrow(ImageTooLargeError)
    expect(untouched.memoryBytes()).toBe(0)
  })

  it('of garbage behind a valid signature throw nothing but AppError', async () => {
    for (const file of [
      'png-rgb-8.png',
      'jpeg-420-q75.jpeg',
      'jpeg-progressive-444.jpeg',
      'webp-q80.webp',
      'webp-lossless.webp',
    ]) {
      const bytes = fixture(file)
      for (let seed = 1; seed <= 12; seed++) {
        const damaged = bytes.slice()
        for (let index = 0; index < 6; index++) {
          const where = Math.floor(bytes.length * (0.1 + 0.9 * fraction(seed * 31 + index)))
          damaged[where] = Math.floor(256 * fraction(seed * 17 + index * 5))
        }
        await decodeImage(damaged, decoders, LIMITS).catch((error: unknown) => {
          if (!(error instanceof AppError)) throw error
        })
      }
    }
    await expectNextDecodeWorks()
  })
})

/** A repeatable number in 0..1 for an integer. */
function fraction(seed: number): number {
  const value = Math.sin(seed * 12.9898) * 43_758.5453
  return value - Math.floor(value)
}

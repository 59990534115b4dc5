// The memory figures behind MAX_IMAGE_PIXELS, measured: WASM memory of each decoder on large pictures, against the estimate.

import { describe, expect, it } from 'vitest'
import { ImageTooLargeError } from '../../src/errors.ts'
import { DECODE_BUDGET_BYTES, DEFAULT_MAX_IMAGE_PIXELS, estimateDecodeBytes } from '../../src/image/decode-memory.ts'
import { decodeAndResize, decodeImage } from '../../src/image/decode.ts'
import { createJpegDecoder, createWebpDecoder } from '../../src/image/emscripten-decoder.ts'
import { type ImageHeader, readImageHeader } from '../../src/image/header.ts'
import type { PixelDecoder } from '../../src/image/pixel-decoder.ts'
import { createPngDecoder } from '../../src/image/png-decoder.ts'
import { LIMITS, modules, newDecoders, pngWithSize } from './fixtures.ts'
import { largePicture, largePng } from './large-pictures.ts'

const MEBIBYTE = 1024 * 1024
const WIDTH = 4000
const HEIGHT = 2000
/** JavaScript's share of one decode to 224 x 224: filters, a row and its sums, the result. */
const RESIZE_BYTES = 2 * MEBIBYTE

/** Encoding 8 million pixels takes seconds on an idle core, and the machine may not be idle. */
const TIMEOUT_MS = 240_000

const LARGE = () => largePicture(WIDTH, HEIGHT)
const PROGRESSIVE = { quality: 85, progressive: true }
const PICTURES: Readonly<Record<string, () => Uint8Array | Promise<Uint8Array>>> = {
  'png grey': () => largePng(WIDTH, HEIGHT, 'grey'),
  'png rgb': () => largePng(WIDTH, HEIGHT, 'rgb'),
  'png palette': () => largePng(WIDTH, HEIGHT, 'palette'),
  'png greyAlpha': () => largePng(WIDTH, HEIGHT, 'greyAlpha'),
  'png rgba': () => largePng(WIDTH, HEIGHT, 'rgba'),
  'jpeg 4:2:0': () => LARGE().jpeg({ quality: 85 }).toBuffer(),
  'jpeg progressive 4:2:0': () => LARGE().jpeg(PROGRESSIVE).toBuffer(),
  'jpeg progressive 4:4:4': () =>
    LARGE()
      .jpeg({ ...PROGRESSIVE, chromaSubsampling: '4:4:4' })
      .toBuffer(),
  'webp lossy': () => LARGE().removeAlpha().webp({ quality: 80, effort: 0 }).toBuffer(),
  'webp lossy with alpha': () => LARGE().webp({ quality: 80, effort: 0 }).toBuffer(),
  // Lossless coding of noise takes minutes on a busy core, and memory does not depend on it.
  'webp lossless': () => largePicture(WIDTH, HEIGHT, 1).webp({ lossless: true, effort: 0 }).toBuffer(),
}
const names = Object.keys(PICTURES)
const encoded = new Map<string, Uint8Array>()

/** One of PICTURES, encoded when first asked for. */
async function picture(name: string): Promise<Uint8Array> {
  const bytes = encoded.get(name) ?? new Uint8Array(await PICTURES[name]!())
  encoded.set(name, bytes)
  return bytes
}

async function newDecoder(format: 'png' | 'jpeg' | 'webp'): Promise<PixelDecoder> {
  switch (format) {
    case 'png':
      return createPngDecoder(modules.png)
    case 'jpeg':
      return await createJpegDecoder(modules.jpeg)
    case 'webp':
      return await createWebpDecoder(modules.webp)
  }
}

describe('decoding 8 million pixels', () => {
  it.each(names)(
    '%s stays under its estimate and under 112 MiB: file, decoder memory and resize together',
    async (name) => {
      const bytes = await picture(name)
      const header = readImageHeader(bytes)
      const decoder = await newDecoder(header.format)
      let pixels = 0
      decoder.decode(bytes, ({ width, height }) => (pixels = width * height))
      expect(pixels).toBe(WIDTH * HEIGHT)
      const used = { decoder: decoder.memoryBytes(), total: bytes.length + decoder.memoryBytes() + RESIZE_BYTES }
      const limit = Math.min(estimateDecodeBytes(header, bytes.length), DECODE_BUDGET_BYTES)
      expect(used.total, `${name}: decoder ${used.decoder}, file ${bytes.length} bytes`).toBeLessThanOrEqual(limit)
    },
    TIMEOUT_MS,
  )
})

describe('the memory limit', () => {
  it(
    'allows the default number of pixels for PNG, baseline JPEG and WebP, and 8 million for all',
    async () => {
      const png = readImageHeader(pngWithSize(4096, 3072))
      expect(png.width * png.height).toBe(DEFAULT_MAX_IMAGE_PIXELS)
      const size = { width: 4096, height: 3072 }
      const headers = new Map<string, ImageHeader>()
      for (const name of names) headers.set(name, readImageHeader(await picture(name)))
      const fits = (name: string, fileBytes: number, changes: object): boolean =>
        estimateDecodeBytes({ ...headers.get(name)!, ...changes }, fileBytes) <= DECODE_BUDGET_BYTES
      expect(fits('png rgb', 20 * MEBIBYTE, size)).toBe(true)
      expect(fits('jpeg 4:2:0', 12 * MEBIBYTE, size)).toBe(true)
      expect(fits('webp lossy', 12 * MEBIBYTE, size)).toBe(true)
      expect(fits('webp lossless', 3 * MEBIBYTE, size)).toBe(true)
      expect(names.filter((name) => !fits(name, 9 * MEBIBYTE, {}))).toEqual([])
      expect(fits('jpeg progressive 4:4:4', MEBIBYTE, size)).toBe(false)
    },
    TIMEOUT_MS,
  )

  it(
    'refuses what does not fit with both amounts, before decoding',
    async () => {
      const decoders = newDecoders()
      const limits = { ...LIMITS, maxBytes: 40 * MEBIBYTE }
      const refusal = decodeAndResize(await picture('jpeg progressive 4:4:4'), decoders, limits, 64)
      await expect(refusal).rejects.toThrow(ImageTooLargeError)
      await expect(refusal).rejects.toThrow(
        /at most 40\.0 MiB .* 4000 x 2000 progressive JPEG .* baseline JPEG needs less/,
      )
      expect(decoders.memoryBytes()).toBe(0)
    },
    TIMEOUT_MS,
  )

  it('counts the full-size copy that decodeImage returns', async () => {
    const limits = { ...LIMITS, maxBytes: 48 * MEBIBYTE }
    const png = await picture('png rgb')
    await expect(decodeAndResize(png, newDecoders(), limits, 64)).resolves.toMatchObject({ width: WIDTH })
    await expect(decodeImage(png, newDecoders(), limits)).rejects.toThrow(ImageTooLargeError)
  })
})

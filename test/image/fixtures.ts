// The committed pictures and expectations of test/fixtures/image, and small builders of hostile files.
// gpu/scripts/make_image_fixtures.py makes the fixtures; their manifest holds seed and versions.

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { crc32, gunzipSync } from 'node:zlib'
import { z } from 'zod'
import type { ImageDecoderModules, ImageDecoders } from '../../src/image/image-decoders.ts'
import { createImageDecoders } from '../../src/image/image-decoders.ts'

const FOLDER = join(import.meta.dirname, '../fixtures/image')
const PACKAGES = join(import.meta.dirname, '../../node_modules/@jsquash')

const sized = { file: z.string(), width: z.int(), height: z.int() }
const manifestSchema = z.object({
  versions: z.record(z.string(), z.string()),
  resize: z.array(
    z.object({
      ...sized,
      mode: z.string(),
      sha256: z.string(),
      offset64: z.int(),
      sha256At224: z.string(),
      sha256At33x57: z.string(),
    }),
  ),
  pngVariants: z.array(
    z.object({
      ...sized,
      colorType: z.string(),
      bitDepth: z.int(),
      isInterlaced: z.boolean(),
      reference: z.enum(['pillow', 'computed']),
      offset: z.int(),
    }),
  ),
  codecs: z.array(z.object({ ...sized, decoded: z.string() })),
  orientations: z.array(z.object({ file: z.string(), orientation: z.int(), decoded: z.string() })),
  refused: z.array(z.object({ file: z.string(), found: z.string() })),
  blend: z.object({ sha256: z.string() }),
  normalize: z.object({
    meanR: z.number(),
    meanG: z.number(),
    meanB: z.number(),
    stdR: z.number(),
    stdG: z.number(),
    stdB: z.number(),
    size: z.int(),
    offset: z.int(),
  }),
})

export const manifest = manifestSchema.parse(JSON.parse(readFileSync(join(FOLDER, 'manifest.json'), 'utf8')))

const expectedBytes = gunzipSync(readFileSync(join(FOLDER, 'expected.bin.gz')))

/** Bytes of one fixture file. */
export function fixture(file: string): Uint8Array {
  return new Uint8Array(readFileSync(join(FOLDER, file)))
}

/** `length` bytes of what Pillow or the image processor made, from an offset of the manifest. */
export function expected(offset: number, length: number): Uint8Array {
  if (offset + length > expectedBytes.length) throw new RangeError(`no ${length} expected bytes at ${offset}`)
  return new Uint8Array(expectedBytes.subarray(offset, offset + length))
}

const compile = async (path: string): Promise<WebAssembly.Module> =>
  await WebAssembly.compile(readFileSync(join(PACKAGES, path)))

/** What a Worker's entry imports, compiled here. */
export const modules: ImageDecoderModules = {
  png: await compile('png/codec/pkg/squoosh_png_bg.wasm'),
  jpeg: await compile('jpeg/codec/dec/mozjpeg_dec.wasm'),
  webp: await compile('webp/codec/dec/webp_dec.wasm'),
}

export function newDecoders(): ImageDecoders {
  return createImageDecoders(modules)
}

export const LIMITS = { maxPixels: 12_582_912 }

/** One PNG chunk with its checksum. */
export function pngChunk(type: string, data: Uint8Array): Uint8Array {
  const body = concat([latin1(type), data])
  return concat([uint32(data.length), body, uint32(crc32(body))])
}

/** A PNG that says a size, followed by what the caller likes. */
export function pngWithSize(width: number, height: number, rest: readonly Uint8Array[] = []): Uint8Array {
  const ihdr = concat([uint32(width), uint32(height), Uint8Array.of(8, 2, 0, 0, 0)])
  return concat([latin1('\x89PNG\r\n\x1a\n'), pngChunk('IHDR', ihdr), ...rest])
}

/** A copy of a JPEG whose frame header says another size. */
export function jpegWithSize(jpeg: Uint8Array, width: number, height: number): Uint8Array {
  const copy = jpeg.slice()
  const frame = copy.findIndex((byte, index) => byte === 0xff && [0xc0, 0xc2].includes(copy[index + 1] ?? 0))
  copy.set([height >> 8, height & 255, width >> 8, width & 255], frame + 5)
  return copy
}

export function concat(parts: readonly Uint8Array[]): Uint8Array {
  return new Uint8Array(Buffer.concat(parts))
}

export function latin1(text: string): Uint8Array {
  return new Uint8Array(Buffer.from(text, 'latin1'))
}

export function uint32(value: number): Uint8Array {
  return Uint8Array.of(value >>> 24, (value >>> 16) & 255, (value >>> 8) & 255, value & 255)
}

// The decoders of one isolate: one picture at a time, at most one WASM instance alive, renewed whenever it may be damaged
// or has grown. Given compiled modules; knows neither where they come from nor what becomes of the pixels.

import { CorruptImageError } from '../errors.ts'
import { estimateDecodeBytes } from './decode-memory.ts'
import { createJpegDecoder, createWebpDecoder } from './emscripten-decoder.ts'
import type { ImageHeader } from './header.ts'
import type { PixelDecoder } from './pixel-decoder.ts'
import type { RgbaPixels } from './pixel-rows.ts'
import { createPngDecoder } from './png-decoder.ts'
import type { ImageFormat } from './signature.ts'
import { FORMAT_NAMES } from './signature.ts'

/**
 * Compiled codecs, from a Worker's imports or, in Node, from `node_modules`:
 * `@jsquash/png/codec/pkg/squoosh_png_bg.wasm`, `@jsquash/jpeg/codec/dec/mozjpeg_dec.wasm` and
 * `@jsquash/webp/codec/dec/webp_dec.wasm`.
 */
export type ImageDecoderModules = Readonly<Record<ImageFormat, WebAssembly.Module>>

export interface ImageDecoders {
  /**
   * Decodes one picture after all earlier ones and returns what `visit` makes of its pixels.
   * The pixels lie in WASM memory and are gone when `visit` returns.
   * @throws CorruptImageError when the bytes do not decode completely, or not to the header's size
   */
  decode<T>(header: ImageHeader, bytes: Uint8Array, visit: (pixels: RgbaPixels) => T): Promise<T>
  /** WASM memory of the instance kept for the next picture, in bytes; 0 without one. */
  memoryBytes(): number
}

interface LiveDecoder {
  format: ImageFormat
  decoder: PixelDecoder
}

/**
 * An instance past this is dropped, as WASM memory never shrinks. Emscripten's start at 16 MiB; a photo of 4 megapixels
 * passes it.
 */
const RENEW_ABOVE_BYTES = 24 * 1024 * 1024

/** @param modules one compiled codec per format; instances are made when first needed */
export function createImageDecoders(modules: ImageDecoderModules): ImageDecoders {
  let live: LiveDecoder | null = null
  let last: Promise<unknown> = Promise.resolve()

  async function decodeNow<T>(header: ImageHeader, bytes: Uint8Array, visit: (pixels: RgbaPixels) => T): Promise<T> {
    // A large picture gets a fresh heap, or its memory would come on top of what smaller ones left behind.
    const isLarge = estimateDecodeBytes(header, bytes.length) > RENEW_ABOVE_BYTES
    const reusable = live?.format === header.format && !isLarge ? live.decoder : null
    live = null
    const decoder = reusable ?? (await createDecoder(header.format, modules))
    const results: T[] = []
    const visitorErrors: unknown[] = []
    try {
      decoder.decode(bytes, (pixels) => {
        try {
          assertSize(header, pixels)
          results.push(visit(pixels))
        } catch (error) {
          visitorErrors.push(error)
          throw error
        }
      })
    } catch (error) {
      // A decoder takes any throw for damage to its data; one of ours is told as it is.
      throw visitorErrors.length > 0 ? visitorErrors[0] : error
    }
    // Reached only without a throw: whatever throws leaves no instance behind.
    if (decoder.memoryBytes() <= RENEW_ABOVE_BYTES) live = { format: header.format, decoder }
    const [result] = results
    if (result === undefined)
      throw new CorruptImageError(`image: damaged ${FORMAT_NAMES[header.format]}: it decodes to nothing`)
    return result
  }

  function decode<T>(header: ImageHeader, bytes: Uint8Array, visit: (pixels: RgbaPixels) => T): Promise<T> {
    const result = last.then(() => decodeNow(header, bytes, visit))
    // The caller gets the failure; the queue goes on after it.
    last = result.catch(() => undefined)
    return result
  }

  return { decode, memoryBytes: () => live?.decoder.memoryBytes() ?? 0 }
}

async function createDecoder(format: ImageFormat, modules: ImageDecoderModules): Promise<PixelDecoder> {
  switch (format) {
    case 'png':
      return createPngDecoder(modules.png)
    case 'jpeg':
      return createJpegDecoder(modules.jpeg)
    case 'webp':
      return createWebpDecoder(modules.webp)
  }
}

/** Holds a decoder to the header by which limits were checked. */
function assertSize(header: ImageHeader, pixels: RgbaPixels): void {
  const { width, height, data } = pixels
  if (width === header.width && height === header.height && data.length === width * height * 4) return
  const expected = `${header.width} x ${header.height}`
  throw new CorruptImageError(
    `image: damaged ${FORMAT_NAMES[header.format]}: expected ${expected}, decoded ${width} x ${height}`,
  )
}

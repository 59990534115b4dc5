// Encoded bytes to opaque RGB: every refusal first, then one decode, with alpha on white and EXIF orientation applied.
// decodeAndResize is what a Worker should use: it never holds the full-size picture outside the decoder.

import { CorruptImageError } from '../errors.ts'
import { DECODE_BUDGET_BYTES, assertMemoryLimit } from './decode-memory.ts'
import type { ImageHeader } from './header.ts'
import { assertPixelLimit, readImageHeader } from './header.ts'
import type { ImageDecoders } from './image-decoders.ts'
import type { PixelRows } from './pixel-rows.ts'
import { orientedRows } from './pixel-rows.ts'
import type { RgbImage } from './resize.ts'
import { resizeRowsBicubic } from './resize.ts'
import type { ImageFormat } from './signature.ts'
import { FORMAT_NAMES } from './signature.ts'

export interface DecodeLimits {
  /** Width times height, checked against the header before anything is decoded. */
  maxPixels: number
  /** Memory for one decode in bytes; DECODE_BUDGET_BYTES unless told. */
  maxBytes?: number
}

/** A picture at the model's size. `rgb` is u8 [size, size, 3]; `width` and `height` are the source's, as displayed. */
export interface ResizedImage {
  rgb: Uint8Array
  width: number
  height: number
  format: ImageFormat
}

const RGB_BYTES = 3

/**
 * The whole picture as displayed: alpha flattened on white, EXIF orientation applied, colour profiles ignored (as PIL does).
 * 16-bit samples keep their high byte.
 * @returns RGB u8 [height, width, 3], 0..255
 * @throws UnsupportedImageError, CorruptImageError, ImageTooLargeError
 */
export async function decodeImage(bytes: Uint8Array, decoders: ImageDecoders, limits: DecodeLimits): Promise<RgbImage> {
  const header = readAllowedHeader(bytes, limits, RGB_BYTES)
  return decoders.decode(header, bytes, (pixels) => copyRows(orientedRows(pixels, header.orientation)))
}

/**
 * `resizeBicubic(await decodeImage(...), size, size)`, byte for byte, without the full-size copy between them.
 * @throws UnsupportedImageError, CorruptImageError, ImageTooLargeError
 */
export async function decodeAndResize(
  bytes: Uint8Array,
  decoders: ImageDecoders,
  limits: DecodeLimits,
  size: number,
): Promise<ResizedImage> {
  const header = readAllowedHeader(bytes, limits, 0)
  return decoders.decode(header, bytes, (pixels) => {
    const rows = orientedRows(pixels, header.orientation)
    const rgb = resizeRowsBicubic(rows, size, size)
    return { rgb, width: rows.width, height: rows.height, format: header.format }
  })
}

function readAllowedHeader(bytes: Uint8Array, limits: DecodeLimits, extraBytesPerPixel: number): ImageHeader {
  const header = readImageHeader(bytes)
  assertPixelLimit(header, limits.maxPixels)
  assertMemoryLimit(header, bytes.length, limits.maxBytes ?? DECODE_BUDGET_BYTES, extraBytesPerPixel)
  // After the limits: a header of impossible size is refused for its size even when nothing follows it.
  if (!header.isComplete) {
    throw new CorruptImageError(`image: damaged ${FORMAT_NAMES[header.format]}: the file ends early`)
  }
  return header
}

function copyRows(rows: PixelRows): RgbImage {
  const { width, height } = rows
  const data = new Uint8Array(width * height * RGB_BYTES)
  const rowBytes = width * RGB_BYTES
  for (let y = 0; y < height; y++) rows.readRow(y, data.subarray(y * rowBytes, (y + 1) * rowBytes))
  return { data, width, height }
}

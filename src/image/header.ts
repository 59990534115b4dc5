// What an image is, read from its header alone: format, size, orientation and what its decoder will need.
// Decides what is refused before any decoder runs; never looks at compressed pixels.

import { CorruptImageError, ImageTooLargeError, UnsupportedImageError } from '../errors.ts'
import type { JpegHeader } from './jpeg-header.ts'
import { readJpegHeader } from './jpeg-header.ts'
import type { PngHeader } from './png-header.ts'
import { readPngHeader } from './png-header.ts'
import { SUPPORTED_FORMATS, describeForeign, detectFormat } from './signature.ts'
import type { WebpHeader } from './webp-header.ts'
import { readWebpHeader } from './webp-header.ts'

/** `width` and `height` are in pixels as stored; `orientation` 5 to 8 swaps them for display. */
export type ImageHeader = PngHeader | JpegHeader | WebpHeader

/** The longest side a JPEG can have. A longer PNG would cost resize time out of proportion to its pixels. */
export const MAX_IMAGE_SIDE = 65_535

/**
 * Type and size of an image, without decoding it. Bytes may end right after the size fields (`isComplete` is then false).
 * @throws UnsupportedImageError for any format or variant this service does not decode, named
 * @throws CorruptImageError when the bytes claim a supported format and break its rules
 */
export function readImageHeader(bytes: Uint8Array): ImageHeader {
  if (bytes.length === 0) throw new CorruptImageError('image: expected image bytes, got none')
  const format = detectFormat(bytes)
  switch (format) {
    case 'png':
      return readPngHeader(bytes)
    case 'jpeg':
      return readJpegHeader(bytes)
    case 'webp':
      return readWebpHeader(bytes)
    case null:
      throw new UnsupportedImageError(`image: expected ${SUPPORTED_FORMATS}, found ${describeForeign(bytes)}`)
  }
}

/**
 * Refuses a picture whose size alone is too much.
 * @throws ImageTooLargeError with the picture's number and the limit
 */
export function assertPixelLimit(header: ImageHeader, maxPixels: number): void {
  const { width, height } = header
  const pixels = width * height
  if (pixels > maxPixels) {
    const size = `${width} x ${height} = ${pixels} pixels`
    throw new ImageTooLargeError(`image: expected at most ${maxPixels} pixels, got ${size}`)
  }
  const side = Math.max(width, height)
  if (side > MAX_IMAGE_SIDE) {
    throw new ImageTooLargeError(`image: expected sides of at most ${MAX_IMAGE_SIDE} pixels, got ${width} x ${height}`)
  }
}

// How much memory one decode takes at most, from the header alone, and the refusal of what would not fit its isolate.
// The figures are measured; test/image/decode-memory.test.ts measures them again.

import { ImageTooLargeError } from '../errors.ts'
import type { ImageHeader } from './header.ts'
import { FORMAT_NAMES } from './signature.ts'

const MEBIBYTE = 1024 * 1024

/** Of an isolate's 128 MiB, what one decode may use: encoded bytes, decoder memory, row buffers and result. */
export const DECODE_BUDGET_BYTES = 112 * MEBIBYTE

/**
 * Default of MAX_IMAGE_PIXELS: 4096 x 3072, a 12-megapixel camera's picture. Within the budget for every format but
 * progressive 4:4:4 JPEG, whose coefficients alone take 6 bytes a pixel: that one fits up to 10 million.
 */
export const DEFAULT_MAX_IMAGE_PIXELS = 12_582_912

/** Codec tables, stacks and code (1 to 2 MiB) and the resize's filters, rows and sums (under 2 MiB at 224 pixels). */
const FIXED_BYTES = 4 * MEBIBYTE

/** The file in JavaScript and in WASM; Emscripten's string binding copies it there twice. */
const FILE_COPIES = { png: 2, jpeg: 3, webp: 3 } as const

/**
 * Upper bound of the bytes one decode and resize hold at once.
 * @param fileBytes length of the encoded file
 */
export function estimateDecodeBytes(header: ImageHeader, fileBytes: number): number {
  const pixels = header.width * header.height
  return FIXED_BYTES + fileBytes * FILE_COPIES[header.format] + Math.ceil(pixels * bytesPerPixel(header))
}

/**
 * Refuses a picture whose decode would not fit.
 * @param extraBytesPerPixel what the caller keeps of each pixel beyond the decoder's own memory
 * @throws ImageTooLargeError with the estimate and the limit
 */
export function assertMemoryLimit(
  header: ImageHeader,
  fileBytes: number,
  maxBytes: number,
  extraBytesPerPixel: number,
): void {
  const { width, height } = header
  const bytes = estimateDecodeBytes(header, fileBytes) + width * height * extraBytesPerPixel
  if (bytes <= maxBytes) return
  const picture = `a ${width} x ${height} ${describe(header)} of ${fileBytes} bytes`
  throw new ImageTooLargeError(
    `image: expected at most ${inMebibytes(maxBytes)} of memory to decode it, ${picture} needs ${inMebibytes(bytes)}` +
      (isBuffered(header) ? '; the same picture as a baseline JPEG needs less' : ''),
  )
}

/** WASM memory per pixel; 4 of it are the RGBA result. Measured slopes at 8 and 12.6 megapixels, rounded up. */
function bytesPerPixel(header: ImageHeader): number {
  switch (header.format) {
    case 'png':
      return header.colorType === 'grey' || header.colorType === 'greyAlpha' ? 6.25 : 4.25
    case 'jpeg':
      return isBuffered(header) ? 4.1 + 2 * header.samplesPerPixel : 4.1
    case 'webp':
      if (header.isLossless) return 8.1
      // Alpha is a lossless picture of its own, with up to 4 bytes a pixel while it is decoded and 1 after.
      return header.hasAlphaChunk ? 10 : 5.1
  }
}

/** Whether libjpeg must hold every coefficient (2 bytes each) until the last scan is read. */
function isBuffered(header: ImageHeader): boolean {
  return header.format === 'jpeg' && (header.isProgressive || header.scans > 1)
}

function describe(header: ImageHeader): string {
  const name = FORMAT_NAMES[header.format]
  if (header.format === 'jpeg' && header.isProgressive) return `progressive ${name}`
  return header.format === 'webp' && header.isLossless ? `lossless ${name}` : name
}

function inMebibytes(bytes: number): string {
  return `${(bytes / MEBIBYTE).toFixed(1)} MiB`
}

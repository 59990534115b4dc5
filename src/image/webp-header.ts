// WebP's RIFF chunks and the frame headers of its two codecs (RFC 9649, RFC 6386 for VP8). Leaves the pixels alone.

import { CorruptImageError, UnsupportedImageError } from '../errors.ts'
import type { Orientation } from './exif.ts'
import { readExifOrientation } from './exif.ts'

export interface WebpHeader {
  format: 'webp'
  width: number
  height: number
  orientation: Orientation
  /** False when the bytes end before the size RIFF announces, or before the picture's chunk. */
  isComplete: boolean
  /** VP8L; otherwise lossy VP8. */
  isLossless: boolean
  /** Lossy pictures keep alpha in a chunk of its own, decoded into a plane of its own. */
  hasAlphaChunk: boolean
}

interface Size {
  width: number
  height: number
}

interface Chunk {
  type: string
  data: Uint8Array
  isCut: boolean
}

const RIFF_HEADER_BYTES = 12
const CHUNK_HEADER_BYTES = 8
const FLAG_ANIMATION = 0x02
/** A still picture has fewer than ten; a million empty ones would only burn time. */
const MAX_CHUNKS = 65_536

/**
 * @param bytes a file that opens with RIFF and WEBP, whole or cut anywhere after its size fields
 * @throws CorruptImageError, UnsupportedImageError (animated WebP)
 */
export function readWebpHeader(bytes: Uint8Array): WebpHeader {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const announced = view.getUint32(4, true) + 8
  let canvas: Size | null = null
  let frame: Size | null = null
  let isFrameWhole = false
  let isLossless = false
  let hasAlphaChunk = false
  let orientation: Orientation = 1
  for (const { type, data, isCut } of chunks(bytes.subarray(0, Math.min(announced, bytes.length)))) {
    if (type === 'VP8X' && canvas === null && frame === null) canvas = readCanvas(data)
    else if (type === 'ANIM' || type === 'ANMF') throw animated()
    else if (type === 'ALPH') hasAlphaChunk = true
    else if (type === 'EXIF') orientation = readExifOrientation(data)
    else if (frame === null && (type === 'VP8 ' || type === 'VP8L')) {
      isLossless = type === 'VP8L'
      frame = isLossless ? readVp8l(data) : readVp8(data)
      isFrameWhole = !isCut
    }
  }
  const size = frame ?? canvas
  if (size === null) throw corrupt('no picture chunk')
  if (canvas !== null && frame !== null && (canvas.width !== frame.width || canvas.height !== frame.height)) {
    throw corrupt(`canvas of ${canvas.width} x ${canvas.height}, picture of ${frame.width} x ${frame.height}`)
  }
  const isComplete = isFrameWhole && announced <= bytes.length
  return { format: 'webp', ...size, orientation, isComplete, isLossless, hasAlphaChunk }
}

/** Chunks in file order, the last one possibly cut. */
function* chunks(bytes: Uint8Array): Generator<Chunk> {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  let start = RIFF_HEADER_BYTES
  for (let count = 0; start + CHUNK_HEADER_BYTES <= bytes.length; count++) {
    if (count === MAX_CHUNKS) throw corrupt(`more than ${MAX_CHUNKS} chunks`)
    const dataStart = start + CHUNK_HEADER_BYTES
    const dataBytes = view.getUint32(start + 4, true)
    const dataEnd = dataStart + dataBytes
    const type = String.fromCharCode(...bytes.subarray(start, start + 4))
    yield { type, data: bytes.subarray(dataStart, Math.min(dataEnd, bytes.length)), isCut: dataEnd > bytes.length }
    // Chunks are padded to an even length; the padding is not counted.
    start = dataEnd + (dataBytes & 1)
  }
}

function readCanvas(data: Uint8Array): Size {
  if (data.length < 10) throw corrupt('its VP8X chunk is cut')
  if (((data[0] ?? 0) & FLAG_ANIMATION) !== 0) throw animated()
  return { width: 1 + uint24(data, 4), height: 1 + uint24(data, 7) }
}

function readVp8(data: Uint8Array): Size {
  if (data.length < 10) throw corrupt('its VP8 frame header is cut')
  const isKeyFrame = ((data[0] ?? 0) & 1) === 0
  if (!isKeyFrame || uint24(data, 3) !== 0x2a019d) throw corrupt('its VP8 data does not start with a key frame')
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength)
  // The two bits above each size are a display scale that WebP ignores.
  const width = view.getUint16(6, true) & 0x3fff
  const height = view.getUint16(8, true) & 0x3fff
  if (width === 0 || height === 0) throw corrupt(`impossible size ${width} x ${height}`)
  return { width, height }
}

function readVp8l(data: Uint8Array): Size {
  if (data.length < 5 || data[0] !== 0x2f) throw corrupt('its VP8L frame header is cut or lacks its signature')
  const bits = new DataView(data.buffer, data.byteOffset, data.byteLength).getUint32(1, true)
  if (bits >>> 29 !== 0) throw corrupt('unknown VP8L version')
  return { width: (bits & 0x3fff) + 1, height: ((bits >>> 14) & 0x3fff) + 1 }
}

function uint24(data: Uint8Array, offset: number): number {
  return (data[offset] ?? 0) | ((data[offset + 1] ?? 0) << 8) | ((data[offset + 2] ?? 0) << 16)
}

function animated(): UnsupportedImageError {
  return new UnsupportedImageError('image: expected a still picture, found an animated WebP')
}

function corrupt(reason: string): CorruptImageError {
  return new CorruptImageError(`image: damaged WebP: ${reason}`)
}

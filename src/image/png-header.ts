// PNG's header and chunk list (ISO/IEC 15948, APNG and eXIf from the PNG third edition). Leaves checksums to the decoder.

import { CorruptImageError, UnsupportedImageError } from '../errors.ts'
import type { Orientation } from './exif.ts'
import { readExifOrientation } from './exif.ts'

export type PngColorType = 'grey' | 'rgb' | 'palette' | 'greyAlpha' | 'rgba'

export interface PngHeader {
  format: 'png'
  width: number
  height: number
  orientation: Orientation
  /** False when the bytes end before the IEND chunk. */
  isComplete: boolean
  bitDepth: number
  colorType: PngColorType
  isInterlaced: boolean
}

export interface PngPixelParts {
  colorType: PngColorType
  /** Signature, IHDR, PLTE and tRNS. */
  beforeData: Uint8Array[]
  /** IDAT and IEND. */
  data: Uint8Array[]
  hasTransparency: boolean
}

interface Chunk {
  type: string
  /** Of the whole chunk: length, type, data, checksum. */
  start: number
  end: number
  data: Uint8Array
}

const SIGNATURE_BYTES = 8
const CHUNK_OVERHEAD_BYTES = 12
const IHDR_DATA_BYTES = 13

/** A file of the largest accepted size has under 10,000; a million empty ones would only burn time. */
const MAX_CHUNKS = 65_536

/** Bit depths PNG allows per colour type, by the type's number in IHDR. */
const COLOR_TYPES: ReadonlyMap<number, { name: PngColorType; bitDepths: readonly number[] }> = new Map([
  [0, { name: 'grey', bitDepths: [1, 2, 4, 8, 16] }],
  [2, { name: 'rgb', bitDepths: [8, 16] }],
  [3, { name: 'palette', bitDepths: [1, 2, 4, 8] }],
  [4, { name: 'greyAlpha', bitDepths: [8, 16] }],
  [6, { name: 'rgba', bitDepths: [8, 16] }],
])

/**
 * @param bytes a file that opens with PNG's signature, whole or cut anywhere after IHDR
 * @throws CorruptImageError, UnsupportedImageError (animated PNG)
 */
export function readPngHeader(bytes: Uint8Array): PngHeader {
  const header = readIhdr(bytes)
  let isComplete = false
  for (const chunk of chunks(bytes)) {
    if (chunk.type === 'acTL') throw new UnsupportedImageError('image: expected a still picture, found an animated PNG')
    if (chunk.type === 'eXIf') header.orientation = readExifOrientation(chunk.data)
    isComplete = chunk.type === 'IEND'
    if (isComplete) break
  }
  return { ...header, isComplete }
}

/**
 * The file without what does not make pixels (only IHDR, PLTE, tRNS, IDAT, IEND stay), as views of `bytes` in file order.
 * @param bytes a file that `readPngHeader` accepted
 */
export function pngPixelParts(bytes: Uint8Array): PngPixelParts {
  const beforeData = [bytes.subarray(0, SIGNATURE_BYTES)]
  const data: Uint8Array[] = []
  let hasTransparency = false
  for (const { type, start, end } of chunks(bytes)) {
    if (type === 'tRNS') hasTransparency = true
    if (type === 'IDAT' || type === 'IEND') data.push(bytes.subarray(start, end))
    else if (type === 'IHDR' || type === 'PLTE' || type === 'tRNS') beforeData.push(bytes.subarray(start, end))
    if (type === 'IEND') break
  }
  return { colorType: readIhdr(bytes).colorType, beforeData, data, hasTransparency }
}

function readIhdr(bytes: Uint8Array): Omit<PngHeader, 'isComplete'> {
  if (bytes.length < SIGNATURE_BYTES + 8 + IHDR_DATA_BYTES) throw corrupt('the file ends inside its header')
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  if (view.getUint32(8) !== IHDR_DATA_BYTES || typeAt(bytes, 12) !== 'IHDR')
    throw corrupt('IHDR is not the first chunk')
  const width = view.getUint32(16)
  const height = view.getUint32(20)
  if (width === 0 || height === 0 || width > 0x7fffffff || height > 0x7fffffff) {
    throw corrupt(`impossible size ${width} x ${height}`)
  }
  const bitDepth = view.getUint8(24)
  const color = COLOR_TYPES.get(view.getUint8(25))
  if (color === undefined || !color.bitDepths.includes(bitDepth)) {
    throw corrupt(`impossible colour type ${view.getUint8(25)} with bit depth ${bitDepth}`)
  }
  const interlace = view.getUint8(28)
  if (view.getUint8(26) !== 0 || view.getUint8(27) !== 0 || interlace > 1)
    throw corrupt('unknown coding method in IHDR')
  const isInterlaced = interlace === 1
  return { format: 'png', width, height, orientation: 1, bitDepth, colorType: color.name, isInterlaced }
}

/** Whole chunks in file order; ends quietly at the first one that is cut. */
function* chunks(bytes: Uint8Array): Generator<Chunk> {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  let start = SIGNATURE_BYTES
  for (let count = 0; start + CHUNK_OVERHEAD_BYTES <= bytes.length; count++) {
    if (count === MAX_CHUNKS) throw corrupt(`more than ${MAX_CHUNKS} chunks`)
    const dataStart = start + 8
    const dataEnd = dataStart + view.getUint32(start)
    const end = dataEnd + 4
    if (end > bytes.length) return
    yield { type: typeAt(bytes, start + 4), start, end, data: bytes.subarray(dataStart, dataEnd) }
    start = end
  }
}

function typeAt(bytes: Uint8Array, offset: number): string {
  return String.fromCharCode(...bytes.subarray(offset, offset + 4))
}

function corrupt(reason: string): CorruptImageError {
  return new CorruptImageError(`image: damaged PNG: ${reason}`)
}

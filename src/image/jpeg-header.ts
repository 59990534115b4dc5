// JPEG's frame header and marker list (ITU-T T.81, Adobe APP14, EXIF APP1). Skips compressed data, never reads it.

import { CorruptImageError, UnsupportedImageError } from '../errors.ts'
import type { Orientation } from './exif.ts'
import { hasExifPrefix, readExifOrientation } from './exif.ts'

export interface JpegHeader {
  format: 'jpeg'
  width: number
  height: number
  orientation: Orientation
  /** False when the bytes end before the EOI marker. */
  isComplete: boolean
  isProgressive: boolean
  /** 1 is grey, 3 is YCbCr or RGB; anything else is refused. */
  components: number
  /** Samples of all components per pixel: 1 for grey, 1.5 for 4:2:0, 3 for 4:4:4. */
  samplesPerPixel: number
  /** The colour transform of Adobe's APP14 marker, null without one: 0 is RGB or CMYK, 1 YCbCr, 2 YCCK. */
  adobeTransform: number | null
  /** Scans seen; more than one (always so when progressive) makes the decoder hold all coefficients in memory. */
  scans: number
}

interface Frame {
  marker: number
  width: number
  height: number
  components: number
  samplesPerPixel: number
}

interface Segment {
  marker: number
  /** Without the two length bytes. */
  data: Uint8Array
}

const SOF0 = 0xc0
const SOF2 = 0xc2
const SOI = 0xd8
const EOI = 0xd9
const SOS = 0xda
const APP1 = 0xe1
const APP14 = 0xee

/** Encoders write about ten scans. Each may cost a pass over every coefficient, so thousands are an attack. */
const MAX_SCANS = 100
/** Metadata and tables take a few hundred; a million empty segments would only burn time. */
const MAX_SEGMENTS = 65_536

/**
 * @param bytes a file that opens with SOI, whole or cut anywhere after its frame header
 * @throws CorruptImageError, UnsupportedImageError (CMYK, 12-bit, lossless, arithmetic, hierarchical, too many scans)
 */
export function readJpegHeader(bytes: Uint8Array): JpegHeader {
  let frame: Frame | null = null
  let orientation: Orientation | null = null
  let adobeTransform: number | null = null
  let scans = 0
  let isComplete = false
  for (const { marker, data } of segments(bytes)) {
    if (marker === EOI) isComplete = true
    else if (marker === SOS) {
      if (++scans > MAX_SCANS) throw unsupported(`a JPEG of more than ${MAX_SCANS} scans`)
    } else if (marker === APP1 && hasExifPrefix(data)) orientation ??= readExifOrientation(data)
    else if (marker === APP14 && isAdobe(data)) adobeTransform = data[11] ?? null
    else if (isFrameMarker(marker)) {
      if (frame !== null) throw corrupt('more than one frame header')
      frame = readFrame(marker, data)
    }
  }
  if (frame === null) throw corrupt('no frame header before the picture data or the end of the file')
  const { width, height, components, samplesPerPixel } = frame
  assertColor(components, adobeTransform)
  const isProgressive = frame.marker === SOF2
  const size = { format: 'jpeg' as const, width, height, orientation: orientation ?? 1 }
  return { ...size, isComplete, isProgressive, components, samplesPerPixel, adobeTransform, scans }
}

/** Marker segments in file order; ends at EOI or at the end of the bytes. Every step moves on by at least 2 bytes. */
function* segments(bytes: Uint8Array): Generator<Segment> {
  let position = 2
  let count = 0
  while (true) {
    // Any number of 0xff fill bytes may stand before a marker's code.
    if (position >= bytes.length) return
    if (bytes[position] !== 0xff) throw corrupt('data where a marker should be')
    while (bytes[position] === 0xff) position++
    const marker = bytes[position]
    if (marker === undefined) return
    position++
    if (isStandalone(marker)) continue
    if (marker === 0 || marker === SOI) throw corrupt('data where a marker should be')
    if (marker === EOI) {
      yield { marker, data: bytes.subarray(position, position) }
      return
    }
    const length = ((bytes[position] ?? 0) << 8) | (bytes[position + 1] ?? 0)
    if (position + 2 > bytes.length) return
    if (length < 2) throw corrupt('a segment shorter than its own length field')
    if (position + length > bytes.length) return
    if (++count > MAX_SEGMENTS) throw corrupt(`more than ${MAX_SEGMENTS} segments`)
    yield { marker, data: bytes.subarray(position + 2, position + length) }
    position += length
    if (marker === SOS) position = endOfScan(bytes, position)
  }
}

/** Offset of the next real marker: inside a scan 0xff is followed by 0 (stuffing), a restart code or more fill. */
function endOfScan(bytes: Uint8Array, start: number): number {
  let position = bytes.indexOf(0xff, start)
  while (position !== -1 && position + 1 < bytes.length) {
    const code = bytes[position + 1] ?? 0
    if (code === 0 || isStandalone(code)) position += 2
    else if (code === 0xff) position += 1
    else return position
    position = bytes.indexOf(0xff, position)
  }
  return bytes.length
}

function readFrame(marker: number, data: Uint8Array): Frame {
  if (marker !== SOF0 && marker !== SOF0 + 1 && marker !== SOF2) throw unsupported(`${nameOfFrame(marker)} JPEG`)
  const components = data[5] ?? 0
  if (data.length < 6 + components * 3 || components === 0) throw corrupt('its frame header is cut')
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength)
  const bits = view.getUint8(0)
  if (bits !== 8) throw unsupported(`a JPEG of ${bits} bits per sample`)
  const height = view.getUint16(1)
  const width = view.getUint16(3)
  if (width === 0 || height === 0) throw corrupt(`impossible size ${width} x ${height}`)
  let samples = 0
  let maxHorizontal = 0
  let maxVertical = 0
  for (let index = 0; index < components; index++) {
    const factors = view.getUint8(7 + index * 3)
    const horizontal = factors >> 4
    const vertical = factors & 15
    if (horizontal < 1 || horizontal > 4 || vertical < 1 || vertical > 4) throw corrupt('impossible sampling factors')
    samples += horizontal * vertical
    maxHorizontal = Math.max(maxHorizontal, horizontal)
    maxVertical = Math.max(maxVertical, vertical)
  }
  return { marker, width, height, components, samplesPerPixel: samples / (maxHorizontal * maxVertical) }
}

function assertColor(components: number, adobeTransform: number | null): void {
  if (components === 1 || components === 3) return
  if (components !== 4) throw unsupported(`a JPEG of ${components} components`)
  throw unsupported(adobeTransform === 2 ? 'a CMYK JPEG (stored as YCCK)' : 'a CMYK JPEG')
}

/** SOF0 to SOF15, without the three codes in that range that mean something else: DHT, JPG, DAC. */
function isFrameMarker(marker: number): boolean {
  return marker >= SOF0 && marker <= 0xcf && marker !== 0xc4 && marker !== 0xc8 && marker !== 0xcc
}

/** TEM and RST0 to RST7: codes without a length. */
function isStandalone(marker: number): boolean {
  return marker === 0x01 || (marker >= 0xd0 && marker <= 0xd7)
}

function nameOfFrame(marker: number): string {
  if (marker >= 0xc9) return 'an arithmetic-coded'
  return marker === 0xc3 ? 'a lossless' : 'a hierarchical'
}

function isAdobe(data: Uint8Array): boolean {
  return data.length >= 12 && String.fromCharCode(...data.subarray(0, 5)) === 'Adobe'
}

function unsupported(found: string): UnsupportedImageError {
  return new UnsupportedImageError(`image: expected a baseline or progressive 8-bit grey or RGB JPEG, found ${found}`)
}

function corrupt(reason: string): CorruptImageError {
  return new CorruptImageError(`image: damaged JPEG: ${reason}`)
}

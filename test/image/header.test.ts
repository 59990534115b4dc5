// Headers: what is accepted, what is refused and by which name, and a fuzzer that may only ever see AppErrors.

import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { AppError, CorruptImageError, ImageTooLargeError, UnsupportedImageError } from '../../src/errors.ts'
import { readExifOrientation } from '../../src/image/exif.ts'
import { MAX_IMAGE_SIDE, assertPixelLimit, readImageHeader } from '../../src/image/header.ts'
import { concat, fixture, jpegWithSize, latin1, manifest, pngChunk, pngWithSize } from './fixtures.ts'

describe('readImageHeader', () => {
  it.each(manifest.pngVariants)('reads size, depth and colour type of $file', (picture) => {
    const { width, height, bitDepth, colorType, isInterlaced } = picture
    const wanted = { format: 'png', width, height, bitDepth, colorType, isInterlaced, orientation: 1, isComplete: true }
    expect(readImageHeader(fixture(picture.file))).toEqual(wanted)
  })

  it.each([...manifest.codecs, ...manifest.resize])('reads the size of $file', ({ file, width, height }) => {
    expect(readImageHeader(fixture(file))).toMatchObject({ width, height, orientation: 1, isComplete: true })
  })

  it.each(manifest.orientations)('reads the orientation of $file', ({ file, orientation }) => {
    expect(readImageHeader(fixture(file)).orientation).toBe(orientation)
  })

  it('tells JPEG kinds apart', () => {
    const jpeg = { format: 'jpeg', adobeTransform: null, components: 3, isProgressive: false, scans: 1 }
    expect(readImageHeader(fixture('jpeg-444-q90.jpeg'))).toMatchObject({ ...jpeg, samplesPerPixel: 3 })
    expect(readImageHeader(fixture('jpeg-420-q75.jpeg'))).toMatchObject({ ...jpeg, samplesPerPixel: 1.5 })
    expect(readImageHeader(fixture('jpeg-422-q50.jpeg'))).toMatchObject({ ...jpeg, samplesPerPixel: 2 })
    expect(readImageHeader(fixture('jpeg-grey.jpeg'))).toMatchObject({ ...jpeg, components: 1, samplesPerPixel: 1 })
    expect(readImageHeader(fixture('jpeg-adobe-rgb.jpeg'))).toMatchObject({ ...jpeg, adobeTransform: 0 })
    const progressive = readImageHeader(fixture('jpeg-progressive-444.jpeg'))
    expect(progressive).toMatchObject({ isProgressive: true, samplesPerPixel: 3 })
    expect(progressive.format === 'jpeg' ? progressive.scans : 0).toBeGreaterThan(1)
  })

  it('tells WebP codecs apart', () => {
    const lossy = { format: 'webp', isLossless: false, hasAlphaChunk: false }
    expect(readImageHeader(fixture('webp-q80.webp'))).toMatchObject(lossy)
    expect(readImageHeader(fixture('webp-alpha-q70.webp'))).toMatchObject({ ...lossy, hasAlphaChunk: true })
    expect(readImageHeader(fixture('webp-alpha-lossless.webp'))).toMatchObject({ ...lossy, isLossless: true })
  })

  it('calls a file that ends early incomplete, whatever its format', () => {
    for (const file of ['resize-72x72.png', 'jpeg-420-q75.jpeg', 'jpeg-progressive-420.jpeg', 'webp-q80.webp']) {
      const bytes = fixture(file)
      for (const share of [0.6, 0.9]) {
        expect(readImageHeader(bytes.subarray(0, bytes.length * share)).isComplete).toBe(false)
      }
      expect(readImageHeader(bytes.subarray(0, bytes.length - 2)).isComplete).toBe(false)
    }
  })
})

describe('refusals from the header', () => {
  it.each(manifest.refused)('name what $file is', ({ file, found }) => {
    expect(() => readImageHeader(fixture(file))).toThrow(UnsupportedImageError)
    expect(() => readImageHeader(fixture(file))).toThrow(found)
  })

  it.each([
    ['SVG', '<?xml version="1.0"?>\n<!-- a cat --><svg xmlns="http://www.w3.org/2000/svg"/>'],
    ['SVG', '\xef\xbb\xbf  <svg width="9"></svg>'],
    ['HTML', '<!DOCTYPE html><html><body>404</body></html>'],
    ['XML', '<rss></rss>'],
    ['PDF', '%PDF-1.7\n'],
    ['HEIC', '\0\0\0\x18ftypheic\0\0\0\0'],
    ['ISO media', '\0\0\0\x18ftypisom\0\0\0\0'],
    ['JPEG XL', '\xff\x0a\x00\x10'],
    ['BigTIFF', 'II+\0\x08\0\0\0'],
    ['RIFF', 'RIFF\x24\0\0\0WAVEfmt '],
    ['ZIP', 'PK\x03\x04'],
    ['unrecognized bytes', 'just some words'],
    ['unrecognized bytes', '\0'],
  ])('name %s', (name, text) => {
    const refuse = (): unknown => readImageHeader(latin1(text))
    expect(refuse).toThrow(UnsupportedImageError)
    expect(refuse).toThrow(name)
    expect(refuse).toThrow('expected PNG, JPEG or WebP')
  })

  it('call empty bytes and cut signatures damaged', () => {
    expect(() => readImageHeader(new Uint8Array(0))).toThrow(CorruptImageError)
    expect(() => readImageHeader(latin1('\x89PNG'))).toThrow('damaged PNG: the file ends inside its header')
    expect(() => readImageHeader(latin1('\xff\xd8'))).toThrow('damaged JPEG: no frame header')
    expect(() => readImageHeader(latin1('RIFF\x04\0\0\0WEBP'))).toThrow('damaged WebP: no picture chunk')
  })

  it('call sizes of zero damaged', () => {
    expect(() => readImageHeader(pngWithSize(0, 5))).toThrow('impossible size 0 x 5')
    expect(() => readImageHeader(pngWithSize(5, 0))).toThrow(CorruptImageError)
    const jpeg = fixture('jpeg-420-q75.jpeg')
    expect(() => readImageHeader(jpegWithSize(jpeg, 0, 4))).toThrow('impossible size 0 x 4')
    const webp = fixture('webp-q80.webp')
    webp.set([0, 0], webp.findIndex((byte, at) => byte === 0x9d && webp[at + 1] === 1 && webp[at + 2] === 0x2a) + 3)
    expect(() => readImageHeader(webp)).toThrow(CorruptImageError)
  })

  it('name JPEG codings that are not decoded', () => {
    const jpeg = fixture('jpeg-420-q75.jpeg')
    const marker = jpeg.findIndex((byte, at) => byte === 0xff && jpeg[at + 1] === 0xc0) + 1
    const withMarker = (code: number): Uint8Array => jpeg.with(marker, code)
    expect(() => readImageHeader(withMarker(0xc3))).toThrow('lossless')
    expect(() => readImageHeader(withMarker(0xc5))).toThrow('hierarchical')
    expect(() => readImageHeader(withMarker(0xc9))).toThrow('arithmetic-coded')
    expect(() => readImageHeader(jpeg.with(marker + 3, 12))).toThrow('12 bits per sample')
    expect(() => readImageHeader(jpeg.with(marker + 8, 2))).toThrow('2 components')
  })

  it('stop a JPEG that goes on for ever in empty scans', () => {
    const jpeg = fixture('jpeg-progressive-420.jpeg')
    const scan = Uint8Array.of(0xff, 0xda, 0, 8, 1, 1, 0, 0, 63, 0, 0)
    const scans = Array.from({ length: 1000 }, () => scan)
    const bomb = concat([jpeg.subarray(0, jpeg.length - 2), ...scans, Uint8Array.of(0xff, 0xd9)])
    expect(() => readImageHeader(bomb)).toThrow('more than 100 scans')
  })

  it('find a WebP whose canvas and picture differ in size damaged', () => {
    const webp = fixture('webp-alpha-q70.webp')
    expect(latin1('VP8X').every((byte, index) => webp[12 + index] === byte)).toBe(true)
    expect(() => readImageHeader(webp.with(24, 1 + webp[24]!))).toThrow('canvas of 61 x 50, picture of 60 x 50')
  })
})

describe('assertPixelLimit', () => {
  it('refuses a 20000 x 20000 PNG from its header alone, with both numbers', () => {
    const bomb = readImageHeader(pngWithSize(20_000, 20_000, [pngChunk('IDAT', new Uint8Array(20))]))
    expect(() => assertPixelLimit(bomb, 8_000_000)).toThrow(ImageTooLargeError)
    expect(() => assertPixelLimit(bomb, 8_000_000)).toThrow(
      'expected at most 8000000 pixels, got 20000 x 20000 = 400000000 pixels',
    )
  })

  it('refuses a 65500 x 65500 JPEG', () => {
    const header = readImageHeader(jpegWithSize(fixture('jpeg-420-q75.jpeg'), 65_500, 65_500))
    expect(header).toMatchObject({ width: 65_500, height: 65_500 })
    expect(() => assertPixelLimit(header, 12_000_000)).toThrow('4290250000 pixels')
  })

  it('takes exactly the limit and refuses one pixel more', () => {
    expect(() => assertPixelLimit(readImageHeader(pngWithSize(100, 80)), 8000)).not.toThrow()
    expect(() => assertPixelLimit(readImageHeader(pngWithSize(8001, 1)), 8000)).toThrow(ImageTooLargeError)
  })

  it('refuses a side no JPEG can have even when the pixels are few', () => {
    expect(() => assertPixelLimit(readImageHeader(pngWithSize(1, MAX_IMAGE_SIDE)), 8e6)).not.toThrow()
    expect(() => assertPixelLimit(readImageHeader(pngWithSize(1, MAX_IMAGE_SIDE + 1)), 8e6)).toThrow('65535')
  })
})

describe('readExifOrientation', () => {
  const block = (order: string, type: number, value: number): Uint8Array => {
    const view = new DataView(new ArrayBuffer(26))
    const little = order === 'II'
    view.setUint16(0, little ? 0x4949 : 0x4d4d)
    view.setUint16(2, 42, little)
    view.setUint32(4, 8, little)
    view.setUint16(8, 1, little)
    view.setUint16(10, 0x0112, little)
    view.setUint16(12, type, little)
    view.setUint32(14, 1, little)
    view.setUint16(18, value, little)
    return new Uint8Array(view.buffer)
  }

  it('reads all eight values in both byte orders', () => {
    for (const order of ['II', 'MM']) {
      for (let value = 1; value <= 8; value++) expect(readExifOrientation(block(order, 3, value))).toBe(value)
    }
  })

  it('takes anything it cannot read for 1', () => {
    expect(readExifOrientation(block('II', 3, 9))).toBe(1)
    expect(readExifOrientation(block('II', 2, 6))).toBe(1)
    expect(readExifOrientation(block('II', 3, 6).subarray(0, 21))).toBe(1)
    expect(readExifOrientation(block('II', 3, 6).with(4, 255))).toBe(1)
    expect(readExifOrientation(new Uint8Array(0))).toBe(1)
  })
})

describe('the header parser under fuzzing', () => {
  const seeds = [
    'jpeg-progressive-444.jpeg',
    'jpeg-restart.jpeg',
    'orientation-6.jpeg',
    'orientation-6.webp',
    'webp-alpha-q70.webp',
    'webp-q80.webp',
    'orientation-8.png',
    'png-palette-4-trns-adam7.png',
    'animated.png',
    'animated.webp',
    'cmyk.jpeg',
  ].map(fixture)

  /** Fails on any other error than our own: a TypeError or RangeError here would be a fault in the parser. */
  function expectReadOrRefused(bytes: Uint8Array): void {
    let outcome: unknown
    try {
      outcome = readImageHeader(bytes).width > 0 ? 'read' : 'read as empty'
    } catch (error) {
      outcome = error instanceof AppError ? 'refused' : error
    }
    expect(['read', 'refused']).toContain(outcome)
  }

  it('throws nothing but AppError on 3,000 random mutations of valid files (seed 7)', () => {
    const edits = fc.array(fc.tuple(fc.double({ min: 0, max: 1, noNaN: true }), fc.nat(255)), { maxLength: 12 })
    const mutation = fc.tuple(fc.constantFrom(...seeds), edits, fc.double({ min: 0, max: 1, noNaN: true }))
    const property = fc.property(mutation, ([seed, changes, keep]) => {
      const bytes = seed.slice(0, Math.ceil(seed.length * Math.sqrt(keep)))
      // Half of all edits land in the first 64 bytes, where the structure is.
      for (const [index, [where, value]] of changes.entries()) {
        const span = index % 2 === 0 ? Math.min(64, bytes.length) : bytes.length
        bytes[Math.floor(where * span)] = value
      }
      expectReadOrRefused(bytes)
    })
    fc.assert(property, { seed: 7, numRuns: 3000 })
  })

  it('throws nothing but AppError on random bytes behind each signature (seed 8)', () => {
    const signatures = [
      '\x89PNG\r\n\x1a\n',
      '\xff\xd8\xff',
      'RIFF\x40\0\0\0WEBPVP8X\x0a\0\0\0',
      'RIFF\xff\xff\xff\xffWEBPVP8L',
      '',
    ]
    const input = fc.tuple(fc.constantFrom(...signatures), fc.uint8Array({ maxLength: 200 }))
    const property = fc.property(input, ([signature, rest]) => expectReadOrRefused(concat([latin1(signature), rest])))
    fc.assert(property, { seed: 8, numRuns: 2000 })
  })

  it('reads every prefix of a file or refuses it', () => {
    for (const seed of seeds) {
      for (let length = 0; length < Math.min(seed.length, 700); length++) expectReadOrRefused(seed.subarray(0, length))
    }
  })

  it('stops at files of a million empty chunks or segments, and runs through fill bytes and restart markers', () => {
    const refused = (bytes: Uint8Array): unknown => expect(() => readImageHeader(bytes)).toThrow('more than 65536')
    refused(concat([pngWithSize(5, 5), new Uint8Array(12 * 1_000_000)]))
    refused(concat([latin1('\xff\xd8'), repeated([0xff, 0xe0, 0, 2], 1_000_000)]))
    refused(concat([latin1('RIFF\xff\xff\xff\x00WEBP'), new Uint8Array(8 * 1_000_000)]))
    expectReadOrRefused(concat([latin1('\xff\xd8'), repeated([0xff], 4_000_000)]))
    expectReadOrRefused(concat([fixture('jpeg-420-q75.jpeg').subarray(0, -2), repeated([0xff, 0xd0], 2_000_000)]))
  })
})

function repeated(pattern: readonly number[], times: number): Uint8Array {
  const bytes = new Uint8Array(pattern.length * times)
  for (let index = 0; index < bytes.length; index++) bytes[index] = pattern[index % pattern.length]!
  return bytes
}

// The resize against Pillow's, on pictures of odd sizes: bytes at 64 x 64, digests elsewhere.

import { createHash } from 'node:crypto'
import { describe, expect, it } from 'vitest'
import { ShapeMismatchError } from '../../src/errors.ts'
import { decodeImage } from '../../src/image/decode.ts'
import { resizeBicubic, resizeRowsBicubic } from '../../src/image/resize.ts'
import { LIMITS, expected, fixture, manifest, newDecoders } from './fixtures.ts'

const decoders = newDecoders()

function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex')
}

function maxDifference(actual: Uint8Array, wanted: Uint8Array): number {
  let max = actual.length === wanted.length ? 0 : Infinity
  for (let index = 0; index < wanted.length; index++) max = Math.max(max, Math.abs(actual[index]! - wanted[index]!))
  return max
}

describe('resizeBicubic', () => {
  it('is tested on at least 50 pictures', () => {
    expect(manifest.resize.length).toBeGreaterThanOrEqual(50)
  })

  it.each(manifest.resize)('of $file ($mode) equals Pillow at 64 x 64 in every byte', async (picture) => {
    const image = await decodeImage(fixture(picture.file), decoders, LIMITS)
    expect(sha256(image.data)).toBe(picture.sha256)
    const difference = maxDifference(resizeBicubic(image, 64, 64), expected(picture.offset64, 64 * 64 * 3))
    expect(difference).toBe(0)
  })

  it.each(manifest.resize)('of $file ($mode) equals Pillow at 224 x 224 and 33 x 57 in every byte', async (picture) => {
    const image = await decodeImage(fixture(picture.file), decoders, LIMITS)
    expect(sha256(resizeBicubic(image, 224, 224))).toBe(picture.sha256At224)
    expect(sha256(resizeBicubic(image, 33, 57))).toBe(picture.sha256At33x57)
  })

  it('to its own size returns the same bytes', () => {
    const data = Uint8Array.from({ length: 7 * 5 * 3 }, (_, index) => (index * 37) & 255)
    expect(resizeBicubic({ data, width: 7, height: 5 }, 7, 5)).toEqual(data)
  })

  it('keeps flat colour flat at both ends of the byte range', () => {
    for (const value of [0, 1, 127, 254, 255]) {
      const data = new Uint8Array(101 * 67 * 3).fill(value)
      expect(new Set(resizeBicubic({ data, width: 101, height: 67 }, 64, 90))).toEqual(new Set([value]))
    }
  })

  it('asks a row source for each row at most once, in order', () => {
    const asked: number[] = []
    const readRow = (y: number, out: Uint8Array): void => {
      asked.push(y)
      out.fill(y)
    }
    resizeRowsBicubic({ width: 9, height: 200, readRow }, 8, 8)
    expect(asked).toEqual([...new Set(asked)].toSorted((a, b) => a - b))
  })

  it('refuses sizes that are not positive whole numbers and data of another length', () => {
    const image = { data: new Uint8Array(12), width: 2, height: 2 }
    for (const size of [0, -1, 1.5, NaN]) expect(() => resizeBicubic(image, size, 4)).toThrow(ShapeMismatchError)
    expect(() => resizeBicubic({ ...image, height: 3 }, 4, 4)).toThrow('expected [3, 2, 3], got 12 bytes')
    expect(() => resizeBicubic({ ...image, width: 0 }, 4, 4)).toThrow(ShapeMismatchError)
  })
})

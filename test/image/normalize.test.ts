// Normalization against Hugging Face's own image processor, for every byte value in every channel.

import { describe, expect, it } from 'vitest'
import { ShapeMismatchError } from '../../src/errors.ts'
import { normalizePixels } from '../../src/image/normalize.ts'
import { expected, manifest } from './fixtures.ts'

const { meanR, meanG, meanB, stdR, stdG, stdB, size, offset } = manifest.normalize
const mean = [meanR, meanG, meanB]
const std = [stdR, stdG, stdB]

describe('normalizePixels', () => {
  it('equals the Hugging Face PIL processor bit for bit on all 256 levels of each channel', () => {
    const wanted = new Float32Array(expected(offset, 3 * size * size * 4).buffer)
    const rgb = Uint8Array.from({ length: size * size * 3 }, (_, index) => Math.floor(index / 3))
    const pixelValues = normalizePixels(rgb, 1, size, mean, std)
    expect(new Uint32Array(pixelValues.buffer)).toEqual(new Uint32Array(wanted.buffer))
  })

  it('turns [n, size, size, 3] into [n, 3, size, size]', () => {
    const rgb = Uint8Array.from({ length: 2 * 2 * 2 * 3 }, (_, index) => index)
    const pixelValues = normalizePixels(rgb, 2, 2, [0, 0, 0], [1 / 255, 1 / 255, 1 / 255])
    const wanted = [0, 3, 6, 9, 1, 4, 7, 10, 2, 5, 8, 11, 12, 15, 18, 21, 13, 16, 19, 22, 14, 17, 20, 23]
    expect([...pixelValues].map(Math.round)).toEqual(wanted)
  })

  it('of no pictures is empty', () => {
    expect(normalizePixels(new Uint8Array(0), 0, 64, mean, std)).toHaveLength(0)
  })

  it('refuses bytes, means or deviations of another length', () => {
    expect(() => normalizePixels(new Uint8Array(11), 1, 2, mean, std)).toThrow('expected [1, 2, 2, 3], got 11 bytes')
    expect(() => normalizePixels(new Uint8Array(12), 1, 2, [0, 0], std)).toThrow(ShapeMismatchError)
    expect(() => normalizePixels(new Uint8Array(12), 1, 2, mean, [1, 1, 1, 1])).toThrow(ShapeMismatchError)
  })
})

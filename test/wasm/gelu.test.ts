// GELU with the error function: absolute error below 2e-6, every length.
import { describe, expect, test } from 'vitest'
import { geluReference } from '../../src/wasm/reference.ts'
import { expectSameInBothBuilds } from './load-kernels.ts'
import { fencedF32, placeF32 } from './tensors.ts'

function geluInBothBuilds(src: Float32Array): Float32Array {
  return expectSameInBothBuilds((kernels) => {
    const out = fencedF32(kernels, new Float32Array(src.length).fill(Number.NaN))
    kernels.geluF32(placeF32(kernels, src), out.ptr, src.length)
    return out.read()
  })
}

describe('geluF32', () => {
  test('is within 2e-6 of the exact function for |x| <= 8', () => {
    const src = Float32Array.from({ length: 64_001 }, (_, i) => (i - 32_000) / 4000)
    let largest = 0
    geluInBothBuilds(src).forEach((value, i) => {
      largest = Math.max(largest, Math.abs(value - geluReference(src[i] ?? Number.NaN)))
    })
    expect(largest).toBeLessThan(2e-6)
  })

  test('is x itself for large x, and 0 for large negative x', () => {
    const src = Float32Array.of(8, 20, 1e4, 3e38, -20, -1e4, -3e38, 0, -0, 1e-40)
    const expected = Float32Array.of(8, 20, 1e4, 3e38, 0, 0, 0, 0, 0, 0)
    geluInBothBuilds(src).forEach((value, i) => expect(value).toBeCloseTo(expected[i] ?? Number.NaN, 12))
  })

  test('keeps NaN', () => {
    expect(geluInBothBuilds(Float32Array.of(Number.NaN))).toEqual(Float32Array.of(Number.NaN))
  })

  test.each([0, 1, 2, 3, 4, 5, 6, 7, 9])('gives each of %i values the same bits as alone, in place too', (length) => {
    const src = Float32Array.from({ length }, (_, i) => i * 0.7 - 2)
    const alone = Float32Array.from(src, (value) => geluInBothBuilds(Float32Array.of(value))[0] ?? Number.NaN)
    expect(geluInBothBuilds(src)).toEqual(alone)
    const inPlace = expectSameInBothBuilds((kernels) => {
      const out = fencedF32(kernels, src)
      kernels.geluF32(out.ptr, out.ptr, length)
      return out.read()
    })
    expect(inPlace).toEqual(alone)
  })
})

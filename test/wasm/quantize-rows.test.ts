// Row quantization: integers and scales equal the scalar twin exactly.
import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { allocQuantizedRows } from '../../src/wasm/quantized-rows.ts'
import { MR, packRows } from '../../src/wasm/pack.ts'
import { quantizeRowsReference } from '../../src/wasm/reference.ts'
import { expectSameInBothBuilds } from './load-kernels.ts'
import { randomNormal } from './random.ts'
import { placeF32 } from './tensors.ts'

/** Runs the kernel in both builds and compares everything it wrote, padding included, with the twin. */
function expectQuantizedAsReference(src: Float32Array, m: number, k: number): void {
  const paddedRows = Math.ceil(m / MR) * MR
  const bytes = expectSameInBothBuilds((kernels) => {
    const srcPtr = placeF32(kernels, src)
    const rows = allocQuantizedRows(kernels.arena, m, k)
    const endPtr = kernels.arena.alloc(64)
    // Dirt that the kernel has to overwrite in the padding, and leave alone behind it.
    kernels.u8(rows.dataPtr, endPtr + 64 - rows.dataPtr).fill(0xa5)
    kernels.quantizeRows(srcPtr, m, k, rows)
    expect(kernels.u8(endPtr, 64)).toEqual(new Uint8Array(64).fill(0xa5))
    const data = kernels.u8(rows.dataPtr, paddedRows * k)
    const scales = kernels.u8(rows.scalePtr, paddedRows * 4)
    return new Uint8Array([...data, ...scales])
  })
  const reference = quantizeRowsReference(src, m, k)
  const dataBytes = paddedRows * k
  expect(new Int8Array(bytes.buffer, 0, dataBytes)).toEqual(packRows(reference.values, m, k))
  const scales = new Float32Array(bytes.slice(dataBytes, dataBytes + paddedRows * 4).buffer)
  expect(scales.subarray(0, m)).toEqual(reference.scales)
  expect(scales.subarray(m)).toEqual(new Float32Array(paddedRows - m).fill(1))
}

describe('quantizeRows', () => {
  test.each([
    [1, 4],
    [2, 4],
    [3, 12],
    [4, 16],
    [5, 192],
    [7, 768],
    [65, 192],
    [0, 16],
    [3, 0],
  ])('equals the scalar reference exactly for %i rows of %i', (m, k) => {
    expectQuantizedAsReference(randomNormal(m * 1000 + k, m * k, 3), m, k)
  })

  test('rounds halves to the even integer', () => {
    // absmax 127 makes the scale 1, so the inputs are what is rounded.
    const src = Float32Array.of(127, 0.5, 1.5, 2.5, -0.5, -1.5, -2.5, 126.5)
    const { values } = quantizeRowsReference(src, 1, 8)
    expect([...values]).toEqual([127, 0, 2, 2, 0, -2, -2, 126])
    expectQuantizedAsReference(src, 1, 8)
  })

  test('reaches both ends of the range and never leaves it', () => {
    const src = Float32Array.from({ length: 64 }, (_, i) => (i % 2 === 0 ? 0.1 : -0.1))
    const { values } = quantizeRowsReference(src, 1, 64)
    expect(new Set(values)).toEqual(new Set([127, -127]))
    expectQuantizedAsReference(src, 1, 64)
  })

  test('gives rows of zeros, and rows too small to have a finite 1 / scale, the scale 1', () => {
    const src = Float32Array.of(0, 0, -0, 0, 1e-44, -1e-38, 1e-33, 0, 1e-29, 0, 0, -1e-29)
    expect([...quantizeRowsReference(src, 3, 4).scales.subarray(0, 2)]).toEqual([1, 1])
    expectQuantizedAsReference(src, 3, 4)
  })

  test('keeps the largest finite floats finite', () => {
    expectQuantizedAsReference(Float32Array.of(3.4e38, -3.4e38, 1e38, 0), 1, 4)
  })

  test('makes the whole row NaN, through its scale, when one value is', () => {
    const scales = expectSameInBothBuilds((kernels) => {
      const srcPtr = placeF32(kernels, Float32Array.of(1, Number.NaN, 2, 3, 1, 2, 3, 4))
      const rows = allocQuantizedRows(kernels.arena, 2, 4)
      kernels.quantizeRows(srcPtr, 2, 4, rows)
      return kernels.f32(rows.scalePtr, 2).map((scale) => (Number.isNaN(scale) ? -1 : scale))
    })
    expect([...scales]).toEqual([-1, Math.fround(4 / 127)])
  })

  test('equals the scalar reference exactly on random shapes and magnitudes', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 0, max: 9 }),
        fc.integer({ min: 0, max: 20 }),
        fc.integer({ min: -30, max: 30 }),
        fc.integer(),
        (m, steps, exponent, seed) => {
          const k = steps * 4
          expectQuantizedAsReference(randomNormal(seed, m * k, 2 ** exponent), m, k)
        },
      ),
      { seed: 20260, numRuns: 60 },
    )
  })
})

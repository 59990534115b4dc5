// Embedding lookup: equal to the scalar twin to the last bit.
import { describe, expect, test } from 'vitest'
import { roundToBf16 } from '../../src/wasm/pack.ts'
import { embedRowsReference } from '../../src/wasm/reference.ts'
import { expectSameInBothBuilds } from './load-kernels.ts'
import { randomInt8, randomNormal } from './random.ts'
import { fencedF32, placeBytes, placeF32, placeI32 } from './tensors.ts'

const IDS = Int32Array.of(3, 1, 4, 1, 2, 0, 2)

describe('embedRows e8', () => {
  test.each([
    [[0], 8],
    [[4, 4, 0], 16],
    [[3, 1, 4, 1, 2, 0, 2], 192],
    [[], 8],
  ])('equals the scalar reference to the last bit for ids %j of %i', (list, hiddenSize) => {
    const ids = Int32Array.from(list)
    const table = randomInt8(1, 5 * hiddenSize, 127)
    table[0] = -128
    const scales = randomNormal(2, 5, 0.02)
    const actual = expectSameInBothBuilds((kernels) => {
      const out = fencedF32(kernels, new Float32Array(ids.length * hiddenSize).fill(Number.NaN))
      const idsPtr = placeI32(kernels, ids)
      const tablePtr = placeBytes(kernels, table)
      kernels.embedRows('e8', idsPtr, ids.length, tablePtr, placeF32(kernels, scales), out.ptr, hiddenSize)
      return out.read()
    })
    expect(actual).toEqual(embedRowsReference(ids, table, scales, hiddenSize))
  })
})

describe('embedRows e6', () => {
  test.each([64, 192])('equals codes less 32 times the row scale to the last bit, rows of %i', (hiddenSize) => {
    const values = randomInt8(3, 5 * hiddenSize, 31)
    values[0] = -32
    const scales = randomNormal(4, 5, 0.02)
    const table = Uint8Array.from({ length: (5 * hiddenSize * 6) / 8 }, (_, index) => {
      const piece = Math.floor(index / 48) * 64
      const [part, lane] = [Math.floor((index % 48) / 16), index % 16]
      const code = (quarter: number) => (values[piece + quarter * 16 + lane] ?? 0) + 32
      if (part < 2) return (code(2 * part) & 15) | ((code(2 * part + 1) & 15) << 4)
      return [0, 1, 2, 3].reduce((byte, quarter) => byte | ((code(quarter) >> 4) << (2 * quarter)), 0)
    })
    const actual = expectSameInBothBuilds((kernels) => {
      const out = fencedF32(kernels, new Float32Array(IDS.length * hiddenSize).fill(Number.NaN))
      const [tablePtr, scalePtr] = [placeBytes(kernels, table), placeF32(kernels, scales)]
      kernels.embedRows('e6', placeI32(kernels, IDS), IDS.length, tablePtr, scalePtr, out.ptr, hiddenSize)
      return out.read()
    })
    expect(actual).toEqual(embedRowsReference(IDS, values, scales, hiddenSize))
  })
})

describe('embedRows e4g32', () => {
  test.each([32, 192])('equals codes less 8 times the group scale to the last bit, rows of %i', (hiddenSize) => {
    const values = randomInt8(5, 5 * hiddenSize, 7)
    values[0] = -8
    const scales = randomNormal(6, (5 * hiddenSize) / 32, 0.02).map(roundToBf16)
    const stored = Uint16Array.from(new Uint32Array(scales.slice().buffer), (word) => word >>> 16)
    const table = Uint8Array.from({ length: (5 * hiddenSize) / 2 }, (_, index) => {
      const at = Math.floor(index / 16) * 32 + (index % 16)
      return ((values[at] ?? 0) + 8) | (((values[at + 16] ?? 0) + 8) << 4)
    })
    const actual = expectSameInBothBuilds((kernels) => {
      const out = fencedF32(kernels, new Float32Array(IDS.length * hiddenSize).fill(Number.NaN))
      const tablePtr = placeBytes(kernels, table)
      const scalePtr = placeBytes(kernels, new Uint8Array(stored.buffer))
      kernels.embedRows('e4g32', placeI32(kernels, IDS), IDS.length, tablePtr, scalePtr, out.ptr, hiddenSize)
      return out.read()
    })
    const expected = [...IDS].flatMap((id) =>
      Array.from({ length: hiddenSize }, (_, i) => {
        const index = id * hiddenSize + i
        return Math.fround((values[index] ?? 0) * (scales[Math.floor(index / 32)] ?? 0))
      }),
    )
    expect(actual).toEqual(Float32Array.from(expected))
  })
})

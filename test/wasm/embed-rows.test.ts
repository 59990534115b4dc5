// Embedding lookup: equal to the scalar twin to the last bit.
import { describe, expect, test } from 'vitest'
import { embedRowsReference } from '../../src/wasm/reference.ts'
import { expectSameInBothBuilds } from './load-kernels.ts'
import { randomInt8, randomNormal } from './random.ts'
import { fencedF32, placeBytes, placeF32, placeI32 } from './tensors.ts'

describe('embedRowsI8', () => {
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
      kernels.embedRowsI8(idsPtr, ids.length, tablePtr, placeF32(kernels, scales), out.ptr, hiddenSize)
      return out.read()
    })
    expect(actual).toEqual(embedRowsReference(ids, table, scales, hiddenSize))
  })
})

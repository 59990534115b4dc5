// Addition: equal to the scalar twin to the last bit, every length.
import { describe, expect, test } from 'vitest'
import { addReference } from '../../src/wasm/reference.ts'
import { expectSameInBothBuilds } from './load-kernels.ts'
import { randomNormal } from './random.ts'
import { fencedF32, placeF32 } from './tensors.ts'

describe('addF32', () => {
  test.each([0, 1, 2, 3, 4, 5, 8, 11, 192])('equals the scalar reference to the last bit for %i values', (length) => {
    const dst = randomNormal(length, length)
    const src = randomNormal(length + 1, length, 100)
    const actual = expectSameInBothBuilds((kernels) => {
      const out = fencedF32(kernels, dst)
      kernels.addF32(out.ptr, placeF32(kernels, src), length)
      return out.read()
    })
    expect(actual).toEqual(addReference(dst, src))
  })
})

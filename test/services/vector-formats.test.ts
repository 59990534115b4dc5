// Output types against their definitions, written out the slow way.

import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { normalizeRows, toInt8, toUbinary } from '../../src/services/vector-formats.ts'

test('normalizeRows gives every row length 1 within 1e-6 and leaves a row of zeros alone', () => {
  const rows = normalizeRows(Float32Array.of(3, 4, 0, 0, -1, 1), 2)
  expect(rows[0]).toBeCloseTo(0.6, 6)
  expect(rows[1]).toBeCloseTo(0.8, 6)
  expect([rows[2], rows[3]]).toEqual([0, 0])
  expect(Math.hypot(rows[4] ?? 0, rows[5] ?? 0)).toBeCloseTo(1, 6)
})

test('normalizeRows does not write into what it was given', () => {
  const values = Float32Array.of(3, 4)
  normalizeRows(values, 2)
  expect([...values]).toEqual([3, 4])
})

test('toInt8 rounds 127 times the value, symmetric around zero at the ends', () => {
  expect([...toInt8(Float32Array.of(1, -1, 0, 0.5, -0.25))]).toEqual([127, -127, 0, 64, -32])
})

test('toUbinary packs one bit a value, 1 above zero, most significant bit first', () => {
  expect([...toUbinary(Float32Array.of(1, -1, 0, 2, -3, 0, 0, 1, -1, -1, -1, -1, -1, -1, -1, 1))]).toEqual([
    0b10010001, 1,
  ])
})

test('toUbinary agrees with a string of bits on any signs', () => {
  fc.assert(
    fc.property(fc.array(fc.float({ noNaN: true }), { minLength: 24, maxLength: 24 }), (values) => {
      const bits = values.map((value) => (Math.fround(value) > 0 ? '1' : '0')).join('')
      const expected = [0, 8, 16].map((start) => Number.parseInt(bits.slice(start, start + 8), 2))
      expect([...toUbinary(Float32Array.from(values))]).toEqual(expected)
    }),
    { seed: 20 },
  )
})

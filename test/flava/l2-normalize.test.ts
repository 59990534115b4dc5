// Unit length, and no surprise for the zero vector.
import { expect, test } from 'vitest'
import { l2Normalize } from '../../src/flava/l2-normalize.ts'

test('l2Normalize gives a new vector of norm 1 within f32 rounding and the same direction', () => {
  const vector = Float32Array.of(3, -4, 12)
  const normalized = l2Normalize(vector)
  expect(Math.hypot(...normalized)).toBeCloseTo(1, 6)
  expect(normalized[0]).toBe(Math.fround(3 / 13))
  expect([...vector]).toEqual([3, -4, 12])
})

test('l2Normalize leaves a zero vector zero', () => {
  expect([...l2Normalize(new Float32Array(4))]).toEqual([0, 0, 0, 0])
})

test('l2Normalize survives values whose squares leave the range of f32', () => {
  expect(Math.hypot(...l2Normalize(Float32Array.of(1e30, -1e30)))).toBeCloseTo(1, 6)
})

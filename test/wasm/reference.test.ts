// The scalar twins themselves, against tabulated values: a wrong twin would excuse a wrong kernel.
import { describe, expect, test } from 'vitest'
import {
  attentionReference,
  erf,
  geluReference,
  layerNormReference,
  softmaxReference,
} from '../../src/wasm/reference.ts'

describe('erf', () => {
  // Abramowitz & Stegun, table 7.1, and Wolfram's digits past its ten.
  test.each([
    [0, 0],
    [0.5, 0.5204998778130465],
    [1, 0.8427007929497149],
    [-1, -0.8427007929497149],
    [2, 0.9953222650189527],
    [3, 0.9999779095030014],
    [7, 1],
  ])('of %f is %f within 1e-15', (z, expected) => {
    expect(Math.abs(erf(z) - expected)).toBeLessThan(1e-15)
  })
})

describe('the float64 twins', () => {
  test('GELU of 1 and -1 are the values PyTorch documents for the erf form', () => {
    expect(geluReference(1)).toBeCloseTo(0.8413447460685429, 14)
    expect(geluReference(-1)).toBeCloseTo(-0.15865525393145707, 14)
  })

  test('softmax of log-weights gives the weights back', () => {
    const src = Float64Array.of(Math.log(1), Math.log(3), Math.log(6))
    const actual = softmaxReference(src, 1, 3)
    ;[0.1, 0.3, 0.6].forEach((weight, i) => expect(actual[i]).toBeCloseTo(weight, 14))
  })

  test('layer norm of 1, 2, 3, 4 is +-3 and +-1 over sqrt 5', () => {
    const actual = layerNormReference(
      Float32Array.of(1, 2, 3, 4),
      new Float32Array(4).fill(1),
      new Float32Array(4),
      1,
      4,
      0,
    )
    ;[-3, -1, 1, 3].forEach((value, i) => expect(actual[i]).toBeCloseTo(value / Math.sqrt(5), 14))
  })

  test('attention weighs values by exp(q k / sqrt(headDim)) within each head', () => {
    // Two tokens, two heads of 4. Head 0: scores ln 3 and 0 for token 0. Head 1: equal scores.
    const q = Float32Array.of(2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
    const k = Float32Array.of(Math.log(3), 0, 0, 0, 1, 1, 1, 1, 0, 5, 5, 5, 1, 1, 1, 1)
    const v = Float32Array.of(4, 0, 0, 0, 1, 0, 0, 0, 8, 0, 0, 0, 3, 0, 0, 0)
    const actual = attentionReference(q, k, v, 2, 2, 4)
    expect(actual[0]).toBeCloseTo(0.75 * 4 + 0.25 * 8, 6)
    expect(actual[4]).toBeCloseTo(2, 12)
    expect(actual[8]).toBeCloseTo(6, 12)
  })
})

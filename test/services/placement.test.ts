// Costs from the geometry, and the decision they lead to.

import { expect, test } from 'vitest'
import { RequestTooCostlyError } from '../../src/errors.ts'
import { sequenceMacs } from '../../src/services/cost.ts'
import { placeEmbedding } from '../../src/services/placement.ts'

const flavaBase = {
  hiddenSize: 768,
  intermediateSize: 3072,
  numLayers: 12,
  numHeads: 12,
  headDim: 64,
  layerNormEps: 1e-12,
}

test('sequenceMacs gives a FLAVA-sized encoder 17.3 GMAC for 197 tokens and 6.65 for 77, within 1 %', () => {
  expect(sequenceMacs(flavaBase, 197) / 17.45e9).toBeCloseTo(1, 2)
  expect(sequenceMacs(flavaBase, 77) / 6.65e9).toBeCloseTo(1, 2)
})

test('placeEmbedding puts a request within the CPU limit at the edge and says so', () => {
  const placement = placeEmbedding(2e9, { cpuLimitMs: 1000, macsPerMs: 1e7 })
  expect(placement).toEqual({ route: 'edge', reason: 'estimated 200 ms of CPU is within the edge limit of 1000 ms' })
})

test('placeEmbedding refuses a request beyond it with the limit', () => {
  expect(() => placeEmbedding(1.1e10, { cpuLimitMs: 1000, macsPerMs: 1e7 })).toThrow(RequestTooCostlyError)
  expect(() => placeEmbedding(1.1e10, { cpuLimitMs: 1000, macsPerMs: 1e7 })).toThrow('the limit is 1000 ms')
})

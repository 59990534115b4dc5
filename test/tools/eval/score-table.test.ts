// What the evaluation prints: the JSON line that others parse, and the gate on what quantization costs.
import { describe, expect, test } from 'vitest'
import {
  formatCosts,
  formatJsonLine,
  formatTable,
  isWithinGate,
  quantizationCosts,
} from '../../../tools/eval/score-table.ts'
import type { ScoreRow } from '../../../tools/eval/score-table.ts'
import { readVectors } from '../../../tools/eval/torch-engine.ts'
import { EngineFailedError } from '../../../tools/eval/errors.ts'

function row(values: Partial<ScoreRow>): ScoreRow {
  return {
    suite: 'retrieval',
    split: 'A',
    engine: 'edge',
    direction: 'i2t',
    r1: 10,
    r5: 20,
    r10: 30,
    n: 1402,
    ...values,
  }
}

describe('formatJsonLine', () => {
  test('has exactly the keys and the order that consumers of --json were promised', () => {
    expect(formatJsonLine(row({ r1: 9.99 }))).toBe(
      '{"suite":"retrieval","split":"A","engine":"edge","direction":"i2t","r1":9.99,"r5":20,"r10":30,"n":1402}',
    )
  })
})

describe('the quantization gate', () => {
  test('allows a loss of 0.5 points on split A and refuses 0.51', () => {
    const within = quantizationCosts([row({ r1: 10 }), row({ engine: 'torch', r1: 10.5 })])
    const above = quantizationCosts([row({ r1: 10 }), row({ engine: 'torch', r1: 10.51 })])
    expect(within).toEqual([{ split: 'A', direction: 'i2t', points: 0.5, isGated: true }])
    expect(isWithinGate(within, 0.5)).toBe(true)
    expect(isWithinGate(above, 0.5)).toBe(false)
    expect(formatCosts(above, 0.5)).toContain('ABOVE')
  })

  test('compares like with like, shows small splits and does not gate them', () => {
    const costs = quantizationCosts([
      row({ split: 'C', direction: 't2i', r1: 1 }),
      row({ split: 'C', direction: 'i2t', r1: 7 }),
      row({ split: 'C', direction: 'i2t', engine: 'torch', r1: 9 }),
      row({ split: 'B', direction: 'i2t', engine: 'torch', r1: 9 }),
    ])
    expect(costs).toEqual([{ split: 'C', direction: 'i2t', points: 2, isGated: false }])
    expect(isWithinGate(costs, 0.5)).toBe(true)
  })
})

describe('formatTable', () => {
  test('puts floors and confidence intervals beside the engines', () => {
    const split = { name: 'A', about: 'held-out style', names: new Map([['1', 'cat']]), galleries: [] } as const
    const table = formatTable(
      [split],
      [row({}), row({ engine: 'chance', r1: 0.07 }), row({ engine: 'pixels', r1: 9.7 })],
    )
    expect(table).toMatch(/A: held-out style \(1 names/)
    expect(table).toMatch(/i2t\s+edge\s+10\.0 \[8\.5, 11\.7\]/)
    expect(table).toMatch(/i2t\s+chance\s+0\.07/)
    expect(table).toMatch(/i2t\s+pixels\s+9\.7 \[/)
  })
})

describe('readVectors', () => {
  test('splits rows of f32 into texts and images in order, wherever the bytes begin', () => {
    const bytes = new Uint8Array(Float32Array.of(1, 2, 3, 4, 5, 6).buffer)
    const shifted = new Uint8Array([0, ...bytes]).subarray(1)
    const { texts, images } = readVectors(shifted, { texts: ['a'], images: ['b', 'c'] })
    expect(texts).toEqual([Float32Array.of(1, 2)])
    expect(images).toEqual([Float32Array.of(3, 4), Float32Array.of(5, 6)])
  })

  test('refuses a file that does not hold a whole number of rows', () => {
    expect(() => readVectors(new Uint8Array(20), { texts: ['a'], images: ['b'] })).toThrow(EngineFailedError)
    expect(() => readVectors(new Uint8Array(0), { texts: ['a'], images: ['b'] })).toThrow(EngineFailedError)
  })
})

// Embedding lookup: equal to the scalar twin to the last bit, for every way in which a table is stored.
import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { roundToBf16 } from '../../src/wasm/pack.ts'
import { embedRowsReference } from '../../src/wasm/reference.ts'
import type { EmbeddingScheme } from '../../src/wasm/schemes.ts'
import { expectSameInBothBuilds } from './load-kernels.ts'
import { randomInt8, randomNormal } from './random.ts'
import { fencedF32, placeBytes, placeI32 } from './tensors.ts'

interface Table {
  rows: number
  /** i8 [rows][hiddenSize]. */
  values: Int8Array
  scales: Float32Array
}

interface Storage {
  /** What a row's size is a multiple of. */
  multiple: number
  /** Values that share a scale; 0: the whole row. */
  group: number
  minValue: number
  maxValue: number
  pack: (values: Int8Array) => Uint8Array
  packScales: (scales: Float32Array) => Uint8Array
}

const f32Bytes = (scales: Float32Array) => new Uint8Array(scales.slice().buffer)

const STORAGE: Record<EmbeddingScheme, Storage> = {
  e8: {
    multiple: 8,
    group: 0,
    minValue: -128,
    maxValue: 127,
    pack: (values) => new Uint8Array(values.slice().buffer),
    packScales: f32Bytes,
  },
  e6: { multiple: 64, group: 0, minValue: -32, maxValue: 31, pack: packSixBits, packScales: f32Bytes },
  e4g32: { multiple: 32, group: 32, minValue: -8, maxValue: 7, pack: packFourBits, packScales: bf16Bytes },
}

/** Pieces of 64: 16 bytes of two low nibbles, 16 more, 16 of four upper pairs. */
function packSixBits(values: Int8Array): Uint8Array {
  return Uint8Array.from({ length: (values.length * 6) / 8 }, (_, index) => {
    const piece = Math.floor(index / 48) * 64
    const [part, lane] = [Math.floor((index % 48) / 16), index % 16]
    const code = (quarter: number) => (values[piece + quarter * 16 + lane] ?? 0) + 32
    if (part < 2) return (code(2 * part) & 15) | ((code(2 * part + 1) & 15) << 4)
    return [0, 1, 2, 3].reduce((byte, quarter) => byte | ((code(quarter) >> 4) << (2 * quarter)), 0)
  })
}

/** Groups of 32: the first 16 in the low nibbles, the others in the high ones. */
function packFourBits(values: Int8Array): Uint8Array {
  return Uint8Array.from({ length: values.length / 2 }, (_, index) => {
    const at = Math.floor(index / 16) * 32 + (index % 16)
    return ((values[at] ?? 0) + 8) | (((values[at + 16] ?? 0) + 8) << 4)
  })
}

function bf16Bytes(scales: Float32Array): Uint8Array {
  return new Uint8Array(Uint16Array.from(new Uint32Array(scales.slice().buffer), (word) => word >>> 16).buffer)
}

function randomTable(scheme: EmbeddingScheme, rows: number, hiddenSize: number, seed: number): Table {
  const { group, minValue, maxValue } = STORAGE[scheme]
  const values = randomInt8(seed, rows * hiddenSize, maxValue)
  if (values.length > 0) values[0] = minValue
  const scales = randomNormal(seed + 1, group === 0 ? rows : (rows * hiddenSize) / group, 0.02)
  return { rows, values, scales: group === 0 ? scales : scales.map(roundToBf16) }
}

function expectAsReference(scheme: EmbeddingScheme, ids: Int32Array, table: Table, hiddenSize: number): void {
  const { group, pack, packScales } = STORAGE[scheme]
  const actual = expectSameInBothBuilds((kernels) => {
    const out = fencedF32(kernels, new Float32Array(ids.length * hiddenSize).fill(Number.NaN))
    const tablePtr = placeBytes(kernels, pack(table.values))
    const scalePtr = placeBytes(kernels, packScales(table.scales))
    kernels.embedRows(scheme, placeI32(kernels, ids), ids.length, tablePtr, scalePtr, out.ptr, hiddenSize)
    return out.read()
  })
  // A group is a row of its own to the twin.
  const perRow = group === 0 ? 1 : hiddenSize / group
  const groupIds = Int32Array.from([...ids].flatMap((id) => Array.from({ length: perRow }, (_, i) => id * perRow + i)))
  expect(actual).toEqual(embedRowsReference(groupIds, table.values, table.scales, hiddenSize / perRow))
}

describe.each(['e8', 'e6', 'e4g32'] as const)('embedRows %s', (scheme) => {
  const { multiple } = STORAGE[scheme]

  test.each([[[0]], [[4, 4, 0]], [[3, 1, 4, 1, 2, 0, 2]], [[]]])(
    'equals the scalar twin to the last bit for ids %j',
    (list) => {
      for (const hiddenSize of [multiple, 192]) {
        expectAsReference(scheme, Int32Array.from(list), randomTable(scheme, 5, hiddenSize, 1), hiddenSize)
      }
    },
  )

  test('equals the scalar twin to the last bit on random tables, ids and sizes', () => {
    const shape = fc.record({ rows: fc.integer({ min: 1, max: 40 }), multiples: fc.integer({ min: 1, max: 9 }) })
    fc.assert(
      fc.property(shape, fc.array(fc.nat(), { maxLength: 9 }), fc.integer(), ({ rows, multiples }, list, seed) => {
        const hiddenSize = multiples * multiple
        const ids = Int32Array.from(list, (id) => id % rows)
        expectAsReference(scheme, ids, randomTable(scheme, rows, hiddenSize, seed), hiddenSize)
      }),
      { seed: 20265, numRuns: 40 },
    )
  })
})

// The packed layouts, pinned byte by byte, and the weight quantizer.
import { describe, expect, test } from 'vitest'
import { packRows, packScales, packWeight, quantizeWeight, roundHalfToEven, roundToBf16 } from '../../src/wasm/pack.ts'
import { LINEAR_SCHEMES, linearFormat, linearTensors, storedBytes } from '../../src/wasm/schemes.ts'
import { randomNormal } from './random.ts'

/** Values 0, 1, 2, ... of a scheme's range, in the order of [n/8][k/4][8 columns][4 k]. */
function orderedValues(n: number, k: number, value: (position: number) => number): Int8Array {
  const values = new Int8Array(n * k)
  let position = 0
  for (let panel = 0; panel < n; panel += 8) {
    for (let step = 0; step < k; step += 4) {
      for (let column = panel; column < panel + 8; column++) {
        for (let depth = step; depth < step + 4; depth++) values[column * k + depth] = value(position++)
      }
    }
  }
  return values
}

describe('packWeight', () => {
  test('lays out [n/8][k/4][8 columns][4 k]: w7 with 64 added, w8 as signed bytes', () => {
    const value = (position: number) => (position % 127) - 63
    const values = orderedValues(16, 8, value)
    const positions = Array.from({ length: 128 }, (_, position) => position)
    expect([...packWeight('w7', values, 16, 8)]).toEqual(positions.map((position) => value(position) + 64))
    expect([...new Int8Array(packWeight('w8', values, 16, 8).buffer)]).toEqual(positions.map(value))
  })

  test('w4g32 puts the two vectors of a step into the nibbles of 16 bytes', () => {
    const packed = packWeight(
      'w4g32',
      orderedValues(8, 32, (position) => (position % 16) - 8),
      8,
      32,
    )
    // Both vectors of a step hold the codes 0..15.
    const step = Array.from({ length: 16 }, (_, lane) => lane | (lane << 4))
    expect([...packed]).toEqual(Array.from({ length: 8 }, () => step).flat())
  })

  test('w5g64 gathers the top bits of 8 vectors in 16 bytes behind 64 bytes of nibbles', () => {
    // Vector j of a chunk holds the code 16 + j when j is odd and j when it is even.
    const code = (position: number) => (Math.floor(position / 16) % 8) + (Math.floor(position / 16) % 2 === 1 ? 16 : 0)
    const packed = packWeight(
      'w5g64',
      orderedValues(8, 64, (position) => code(position) - 16),
      8,
      64,
    )
    const nibbles = [0x10, 0x32, 0x54, 0x76].flatMap((byte) => new Array<number>(16).fill(byte))
    const chunk = [...nibbles, ...new Array<number>(16).fill(0b10101010)]
    expect([...packed]).toEqual(Array.from({ length: 4 }, () => chunk).flat())
  })

  test('w6g64 gathers the two top bits of 4 vectors in each of two 16-byte vectors', () => {
    const code = (position: number) => {
      const vector = Math.floor(position / 16) % 8
      return vector + 16 * (vector % 4)
    }
    const packed = packWeight(
      'w6g64',
      orderedValues(8, 64, (position) => code(position) - 32),
      8,
      64,
    )
    const nibbles = [0x10, 0x32, 0x54, 0x76].flatMap((byte) => new Array<number>(16).fill(byte))
    const chunk = [...nibbles, ...new Array<number>(32).fill(0b11_10_01_00)]
    expect([...packed]).toEqual(Array.from({ length: 4 }, () => chunk).flat())
  })

  test.each([...LINEAR_SCHEMES])('%s and its scales take the bytes that linearTensors announces', (scheme) => {
    const [n, k] = [16, 128]
    const { values, scales } = quantizeWeight(scheme, randomNormal(3, n * k), n, k)
    const { weight, scale } = linearTensors(scheme, n, k)
    expect(packWeight(scheme, values, n, k)).toHaveLength(storedBytes(weight))
    expect(packScales(scheme, scales, n, k)).toHaveLength(storedBytes(scale))
  })

  test.each([
    ['n not a multiple of 8', 'w7', new Int8Array(16), 4, 4, 'n: expected a multiple of 8 for w7, got 4'],
    ['k not a multiple of 4', 'w7', new Int8Array(48), 8, 6, 'k: expected a multiple of 4 for w7, got 6'],
    ['k not whole groups', 'w4g32', new Int8Array(384), 8, 48, 'k: expected a multiple of 32 for w4g32, got 48'],
    ['too few values', 'w7', new Int8Array(31), 8, 4, 'values: expected 32 elements, got 31'],
    ['a value past 63', 'w7', new Int8Array(32).fill(64), 8, 4, 'values: expected w7 weights in [-63, 63], got 64'],
    ['a value past 7', 'w4g32', new Int8Array(256).fill(8), 8, 32, 'expected w4g32 weights in [-8, 7], got 8'],
  ] as const)('refuses %s', (_, scheme, values, n, k, message) => {
    expect(() => packWeight(scheme, values, n, k)).toThrow(message)
  })
})

describe('packScales', () => {
  test('lays out [n/8][k/group][8 columns] in bf16', () => {
    const [n, k] = [16, 64]
    const scales = Float32Array.from({ length: (n * k) / 32 }, (_, index) => (index % 2 === 0 ? 1 : -1) * (1 + index))
    const stored = new Uint16Array(packScales('w4g32', scales, n, k).buffer)
    const read = Array.from(stored, (half) => new Float32Array(Uint32Array.of(half << 16).buffer)[0])
    const column = (panel: number, group: number) =>
      Array.from({ length: 8 }, (_, c) => scales[(panel * 8 + c) * 2 + group])
    expect(read).toEqual([...column(0, 0), ...column(0, 1), ...column(1, 0), ...column(1, 1)])
  })
})

describe('packRows', () => {
  test('lays out [ceil(m/4)][k/4][4 rows][4 k] and pads with zero rows', () => {
    const [m, k] = [5, 8]
    const values = Int8Array.from({ length: m * k }, (_, i) => i + 1)
    const packed = packRows(values, m, k)
    expect(packed).toHaveLength(8 * k)
    let position = 0
    for (const block of [0, 4]) {
      for (const step of [0, 4]) {
        for (let row = block; row < block + 4; row++) {
          for (let depth = step; depth < step + 4; depth++) {
            expect(packed[position++]).toBe(row < m ? values[row * k + depth] : 0)
          }
        }
      }
    }
  })
})

describe('quantizeWeight', () => {
  test.each([...LINEAR_SCHEMES])('%s is within half a step of every weight', (scheme) => {
    const [n, k] = [8, 128]
    const weight = randomNormal(1, n * k, 0.05)
    const { values, scales } = quantizeWeight(scheme, weight, n, k)
    const { group } = linearFormat(scheme, k)
    values.forEach((value, index) => {
      const scale = scales[Math.floor(index / group)] ?? 0
      const exact = weight[index] ?? 0
      // Half a step, and the rounding of the scale: float32's, or bf16's on the largest value of a group.
      expect(Math.abs(value * scale - exact)).toBeLessThanOrEqual(scale * 0.50001 + Math.abs(exact) * 2 ** -8)
    })
  })

  test('gives a channel of zeros the scale 1', () => {
    expect(quantizeWeight('w7', new Float32Array(64), 8, 8)).toEqual({
      values: new Int8Array(64),
      scales: new Float32Array(8).fill(1),
    })
  })
})

describe('roundToBf16', () => {
  test.each([
    [1, 1],
    [1 + 2 ** -8, 1],
    [1 + 3 * 2 ** -8, 1 + 2 ** -6],
    [1 + 2 ** -8 + 2 ** -20, 1 + 2 ** -7],
    [-0.1, -0.10009765625],
  ])('rounds %f to %f', (value, expected) => {
    expect(roundToBf16(value)).toBe(expected)
  })
})

describe('roundHalfToEven', () => {
  test.each([
    [0.5, 0],
    [1.5, 2],
    [2.5, 2],
    [-0.5, 0],
    [-1.5, -2],
    [-2.5, -2],
    [2.4999, 2],
    [-2.5001, -3],
  ])('rounds %f to %i', (value, expected) => {
    expect(roundHalfToEven(value) + 0).toBe(expected)
  })
})

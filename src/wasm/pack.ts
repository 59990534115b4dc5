// The byte layouts that the GEMM kernels read, and how numbers of each scheme get into them: the specification the
// exporter (Python) and the kernels (AssemblyScript) are tested against. Plain and slow on purpose.
import { ShapeMismatchError } from '../errors.ts'
import { expectLinearShape, linearFormat } from './schemes.ts'
import type { LinearScheme } from './schemes.ts'

/** Rows per activation block and columns per weight panel: the GEMM tile. */
export const MR = 4
export const NR = 8

/** Consecutive k that one 32-bit lane holds. */
export const K_STEP = 4

/** Largest k whose int32 sums cannot overflow: 127 * 127 * k stays below 2^31. */
export const MAX_K = 65536

/** Steps that share their upper bits in a stored panel of 5 or 6 bits. */
const CHUNK_STEPS = 4
const STEP_BYTES = NR * K_STEP
const VECTOR_BYTES = 16

export interface QuantizedWeight {
  /** i8 [n][k], row-major, in linearFormat's range. */
  values: Int8Array
  /** f32 [n][k / group]: weight ~= value * scale. Group scales are exact in bf16. */
  scales: Float32Array
}

/**
 * Symmetric nearest rounding: scale = absmax / largest value per group (1 for a group of zeros), halves to even.
 * @param weight f32 [n][k], row-major, as a Linear layer stores it
 */
export function quantizeWeight(scheme: LinearScheme, weight: Float32Array, n: number, k: number): QuantizedWeight {
  expectLinearShape(scheme, n, k)
  expectLength('weight', weight.length, n * k)
  const { bits, group, maxValue } = linearFormat(scheme, k)
  const values = new Int8Array(n * k)
  const scales = new Float32Array(group === 0 ? 0 : (n * k) / group)
  scales.forEach((_, index) => {
    const members = weight.subarray(index * group, (index + 1) * group)
    const absMax = members.reduce((largest, value) => Math.max(largest, Math.abs(value)), 0)
    const exact = absMax === 0 ? 1 : Math.fround(absMax / maxValue)
    const scale = bits < 7 ? roundToBf16(exact) : exact
    scales[index] = scale
    members.forEach((value, i) => {
      values[index * group + i] = Math.max(-maxValue, Math.min(maxValue, roundHalfToEven(value / scale)))
    })
  })
  return { values, scales }
}

/**
 * i8 [n][k] -> the stored bytes. Panels of 8 output channels; a step is 4 k of them, 32 codes:
 *
 *     | n0: k0 k1 k2 k3 | n1: k0 k1 k2 k3 | ... | n7: k0 k1 k2 k3 |
 *
 * w7: one byte a code, value + 64. w8: one signed byte a value. w4, w5, w6: codes are value + 2^(bits-1); a chunk is
 * 4 steps, of whose 8 vectors of 16 codes v0..v7
 *
 *     bytes  0..63  per step, 16 bytes: low nibbles of its first vector | low nibbles of its second << 4
 *     w5: 64..79    bit j = bit 4 of vj
 *     w6: 64..79    bits 4 and 5 of v0 | of v1 << 2 | of v2 << 4 | of v3 << 6
 *         80..95    the same of v4..v7
 *
 * The file layout and the memory layout are the same, so loading is a copy.
 * @throws ShapeMismatchError for n, k or values that the scheme cannot hold
 */
export function packWeight(scheme: LinearScheme, values: Int8Array, n: number, k: number): Uint8Array {
  expectLinearShape(scheme, n, k)
  expectLength('values', values.length, n * k)
  const { bits, minValue, maxValue } = linearFormat(scheme, k)
  const offset = bits === 8 ? 0 : 2 ** (bits - 1)
  const codes = new Uint8Array(n * k)
  values.forEach((value, index) => {
    if (value < minValue || value > maxValue) {
      throw new ShapeMismatchError(`values: expected ${scheme} weights in [${minValue}, ${maxValue}], got ${value}`)
    }
    codes[codeOffset(Math.floor(index / k), index % k, k)] = value + offset
  })
  return bits < 7 ? packCodes(codes, bits) : codes
}

/** f32 [n][k/group] -> the stored bytes: f32 [n] for one group, else bf16 [n/8][k/group][8 columns]. */
export function packScales(scheme: LinearScheme, scales: Float32Array, n: number, k: number): Uint8Array {
  const { bits, group } = linearFormat(scheme, k)
  if (bits >= 7) return new Uint8Array(scales.slice().buffer)
  const groups = group === 0 ? 0 : k / group
  expectLength('scales', scales.length, n * groups)
  const stored = new Uint16Array(n * groups)
  const words = new Uint32Array(scales.slice().buffer)
  words.forEach((word, index) => {
    const column = Math.floor(index / groups)
    const panel = Math.floor(column / NR)
    stored[(panel * groups + (index % groups)) * NR + (column % NR)] = word >>> 16
  })
  return new Uint8Array(stored.buffer)
}

/**
 * i8 [m][k] -> i8 [ceil(m/4)][k/4][4 rows][4 k]; rows past m are zeros.
 *
 *     one block (4 rows), one step (4 k), 16 bytes
 *     | m0: k0 k1 k2 k3 | m1: k0 k1 k2 k3 | m2: ... | m3: ... |
 */
export function packRows(values: Int8Array, m: number, k: number): Int8Array {
  if (k % K_STEP !== 0) throw new ShapeMismatchError(`k: expected a multiple of ${K_STEP}, got ${k}`)
  expectLength('values', values.length, m * k)
  const packed = new Int8Array(Math.ceil(m / MR) * MR * k)
  values.forEach((value, index) => {
    packed[rowOffset(Math.floor(index / k), index % k, k)] = value
  })
  return packed
}

/** Nearest integer, ties to the even one: f32x4.nearest, and Python's round. */
export function roundHalfToEven(value: number): number {
  const floor = Math.floor(value)
  const rest = value - floor
  if (rest !== 0.5) return rest < 0.5 ? floor : floor + 1
  return floor % 2 === 0 ? floor : floor + 1
}

/** Nearest bf16, ties to even, as an f32. */
export function roundToBf16(value: number): number {
  const word = new Uint32Array(Float32Array.of(value).buffer)
  const bits = word[0] ?? 0
  word[0] = (bits + 0x7fff + ((bits >>> 16) & 1)) & 0xffff0000
  return new Float32Array(word.buffer)[0] ?? 0
}

/** Bytes of whole steps -> nibbles and, per chunk, the vectors of upper bits. */
function packCodes(codes: Uint8Array, bits: number): Uint8Array {
  const chunkBytes = CHUNK_STEPS * STEP_BYTES
  const topVectors = bits - 4
  const storedBytes = chunkBytes / 2 + topVectors * VECTOR_BYTES
  const packed = new Uint8Array((codes.length / chunkBytes) * storedBytes)
  codes.forEach((code, index) => {
    const chunk = Math.floor(index / chunkBytes) * storedBytes
    const vector = Math.floor((index % chunkBytes) / VECTOR_BYTES)
    const lane = index % VECTOR_BYTES
    const nibbleAt = chunk + Math.floor(vector / 2) * VECTOR_BYTES + lane
    packed[nibbleAt] = (packed[nibbleAt] ?? 0) | ((code & 15) << (vector % 2 === 0 ? 0 : 4))
    if (topVectors === 0) return
    const vectorsPerTop = 8 / topVectors
    const topAt = chunk + chunkBytes / 2 + Math.floor(vector / vectorsPerTop) * VECTOR_BYTES + lane
    packed[topAt] = (packed[topAt] ?? 0) | ((code >> 4) << ((vector % vectorsPerTop) * topVectors))
  })
  return packed
}

function codeOffset(column: number, depth: number, k: number): number {
  const panel = Math.floor(column / NR) * NR * k
  const step = Math.floor(depth / K_STEP) * STEP_BYTES
  return panel + step + (column % NR) * K_STEP + (depth % K_STEP)
}

/** Where packRows puts element [row][depth]. */
export function rowOffset(row: number, depth: number, k: number): number {
  const block = Math.floor(row / MR) * MR * k
  const step = Math.floor(depth / K_STEP) * MR * K_STEP
  return block + step + (row % MR) * K_STEP + (depth % K_STEP)
}

function expectLength(name: string, length: number, expected: number): void {
  if (length !== expected) throw new ShapeMismatchError(`${name}: expected ${expected} elements, got ${length}`)
}

// The byte layouts that the GEMM kernels read, and how w7a8 numbers get into them: the specification the exporter
// (Python) and the kernels (AssemblyScript) are tested against. Plain and slow on purpose.
import { ShapeMismatchError } from '../errors.ts'

/** Rows per activation block and columns per weight panel: the GEMM tile. */
export const MR = 4
const NR = 8

/** Consecutive k that one 32-bit lane holds. */
export const K_STEP = 4

/** Added to a weight in [-63, 63] to store it as an unsigned 7-bit byte, 1..127. */
const WEIGHT_ZERO_POINT = 64

/** Largest magnitude of a quantized weight. */
const WEIGHT_LIMIT = 63

/** Largest k whose int32 sums cannot overflow: 127 * 127 * k and 64 * 127 * k together stay below 2^31. */
export const MAX_K = 65536

export interface QuantizedWeight {
  /** i8 [n][k], row-major, in [-63, 63]. */
  values: Int8Array
  /** f32 [n]: weight ~= value * scale. */
  scales: Float32Array
}

/**
 * Symmetric weights per output channel: scale = absmax / 63 (1 for a row of zeros), halves to even.
 * @param weight f32 [n][k], row-major, as a Linear layer stores it
 */
export function quantizeWeight(weight: Float32Array, n: number, k: number): QuantizedWeight {
  expectLength('weight', weight.length, n * k)
  const values = new Int8Array(n * k)
  const scales = new Float32Array(n)
  for (let row = 0; row < n; row++) {
    const channel = weight.subarray(row * k, (row + 1) * k)
    const absMax = channel.reduce((largest, value) => Math.max(largest, Math.abs(value)), 0)
    const scale = absMax === 0 ? 1 : Math.fround(absMax / WEIGHT_LIMIT)
    scales[row] = scale
    channel.forEach((value, i) => {
      const rounded = roundHalfToEven(value / scale)
      values[row * k + i] = Math.max(-WEIGHT_LIMIT, Math.min(WEIGHT_LIMIT, rounded))
    })
  }
  return { values, scales }
}

/**
 * i8 [n][k] -> u8 [n/8][k/4][8 columns][4 k], each byte the value + 64. n % 8 == 0, k % 4 == 0.
 *
 *     one panel (8 output channels), one step (4 k), 32 bytes
 *     | n0: k0 k1 k2 k3 | n1: k0 k1 k2 k3 | ... | n7: k0 k1 k2 k3 |
 *
 * The file layout of model.safetensors and the memory layout are the same, so loading is a copy.
 * @throws ShapeMismatchError for other n, k, or values outside [-63, 63]
 */
export function packWeight(values: Int8Array, n: number, k: number): Uint8Array {
  expectWeightShape(n, k)
  expectLength('values', values.length, n * k)
  const packed = new Uint8Array(n * k)
  values.forEach((value, index) => {
    if (Math.abs(value) > WEIGHT_LIMIT) {
      throw new ShapeMismatchError(`values: expected weights in [-63, 63], got ${value}`)
    }
    packed[weightOffset(Math.floor(index / k), index % k, k)] = value + WEIGHT_ZERO_POINT
  })
  return packed
}

/** The inverse of packWeight: u8 packed -> i8 [n][k]. */
export function unpackWeight(packed: Uint8Array, n: number, k: number): Int8Array {
  expectWeightShape(n, k)
  expectLength('packed', packed.length, n * k)
  return Int8Array.from({ length: n * k }, (_, index) => {
    return (packed[weightOffset(Math.floor(index / k), index % k, k)] ?? 0) - WEIGHT_ZERO_POINT
  })
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

/** @throws ShapeMismatchError unless weights of this shape can be packed and multiplied */
export function expectWeightShape(n: number, k: number): void {
  if (!Number.isInteger(n) || n < 0 || n % NR !== 0) {
    throw new ShapeMismatchError(`n: expected a multiple of ${NR}, got ${n}`)
  }
  if (!Number.isInteger(k) || k < 0 || k % K_STEP !== 0 || k > MAX_K) {
    throw new ShapeMismatchError(`k: expected a multiple of ${K_STEP} up to ${MAX_K}, got ${k}`)
  }
}

/** Nearest integer, ties to the even one: f32x4.nearest, and Python's round. */
export function roundHalfToEven(value: number): number {
  const floor = Math.floor(value)
  const rest = value - floor
  if (rest !== 0.5) return rest < 0.5 ? floor : floor + 1
  return floor % 2 === 0 ? floor : floor + 1
}

function weightOffset(column: number, depth: number, k: number): number {
  const panel = Math.floor(column / NR) * NR * k
  const step = Math.floor(depth / K_STEP) * NR * K_STEP
  return panel + step + (column % NR) * K_STEP + (depth % K_STEP)
}

function rowOffset(row: number, depth: number, k: number): number {
  const block = Math.floor(row / MR) * MR * k
  const step = Math.floor(depth / K_STEP) * MR * K_STEP
  return block + step + (row % MR) * K_STEP + (depth % K_STEP)
}

function expectLength(name: string, length: number, expected: number): void {
  if (length !== expected) throw new ShapeMismatchError(`${name}: expected ${expected} elements, got ${length}`)
}

// The ways a tensor may be quantized, as names and sizes: what the package format, the loader and the kernels share.
// Byte layouts are drawn in pack.ts (Linear weights) and assembly/embed-rows.ts (embedding tables).
import { ShapeMismatchError } from '../errors.ts'

/** Bits of a weight; `g` and the k that share a scale, or one scale per output channel. */
export const LINEAR_SCHEMES = ['w8', 'w7', 'w6g64', 'w5g64', 'w4g64', 'w4g32'] as const
export type LinearScheme = (typeof LINEAR_SCHEMES)[number]

/** Bits of a table's value; one scale per row, or per 32 values of it. */
export const EMBEDDING_SCHEMES = ['e8', 'e6', 'e4g32'] as const
export type EmbeddingScheme = (typeof EMBEDDING_SCHEMES)[number]

export type StoredDtype = 'U8' | 'I8' | 'BF16' | 'F32'

export interface StoredTensor {
  dtype: StoredDtype
  shape: readonly number[]
}

/** A quantized tensor as it lies in the file and in memory. */
export interface StoredPair {
  weight: StoredTensor
  scale: StoredTensor
}

export interface LinearFormat {
  bits: number
  /** Consecutive k that share a scale; all of them in the schemes of one scale per channel. */
  group: number
  minValue: number
  maxValue: number
}

export const BYTES_PER_ELEMENT: Record<StoredDtype, number> = { U8: 1, I8: 1, BF16: 2, F32: 4 }

const PANEL_COLUMNS = 8
const STEP = 4
/** Steps of 5- and 6-bit codes share vectors of upper bits by four. */
const CHUNK = 16

const BITS: Record<LinearScheme, number> = { w8: 8, w7: 7, w6g64: 6, w5g64: 5, w4g64: 4, w4g32: 4 }
const GROUPS: Record<LinearScheme, number> = { w8: 0, w7: 0, w6g64: 64, w5g64: 64, w4g64: 64, w4g32: 32 }
const ROW_MULTIPLES: Record<EmbeddingScheme, number> = { e8: 8, e6: 64, e4g32: 32 }

/** Bits, group and the range of values of a Linear with `k` inputs. */
export function linearFormat(scheme: LinearScheme, k: number): LinearFormat {
  const bits = BITS[scheme]
  const half = 2 ** (bits - 1)
  const isPerChannel = bits >= 7
  return {
    bits,
    group: isPerChannel ? k : GROUPS[scheme],
    minValue: isPerChannel ? 1 - half : -half,
    maxValue: half - 1,
  }
}

/** Tensors of a Linear's weight, n output channels by k inputs. @throws ShapeMismatchError as expectLinearShape */
export function linearTensors(scheme: LinearScheme, n: number, k: number): StoredPair {
  expectLinearShape(scheme, n, k)
  const { bits, group } = linearFormat(scheme, k)
  if (bits >= 7) {
    return { weight: { dtype: bits === 8 ? 'I8' : 'U8', shape: [n, k] }, scale: { dtype: 'F32', shape: [n] } }
  }
  return {
    weight: { dtype: 'U8', shape: [n, (k * bits) / 8] },
    scale: { dtype: 'BF16', shape: [n / PANEL_COLUMNS, k / group, PANEL_COLUMNS] },
  }
}

/** Tensors of an embedding table. @throws ShapeMismatchError when a row does not hold whole packed pieces */
export function embeddingTensors(scheme: EmbeddingScheme, rows: number, hiddenSize: number): StoredPair {
  const multiple = ROW_MULTIPLES[scheme]
  if (!Number.isInteger(hiddenSize) || hiddenSize < 0 || hiddenSize % multiple !== 0) {
    throw new ShapeMismatchError(`hiddenSize: expected a multiple of ${multiple} for ${scheme}, got ${hiddenSize}`)
  }
  const perRow: StoredTensor = { dtype: 'F32', shape: [rows] }
  switch (scheme) {
    case 'e8':
      return { weight: { dtype: 'I8', shape: [rows, hiddenSize] }, scale: perRow }
    case 'e6':
      return { weight: { dtype: 'U8', shape: [rows, (hiddenSize * 6) / 8] }, scale: perRow }
    case 'e4g32':
      return {
        weight: { dtype: 'U8', shape: [rows, hiddenSize / 2] },
        scale: { dtype: 'BF16', shape: [rows, hiddenSize / 32] },
      }
  }
}

export function storedBytes({ dtype, shape }: StoredTensor): number {
  return shape.reduce((product, size) => product * size, BYTES_PER_ELEMENT[dtype])
}

/** @throws ShapeMismatchError unless weights of this shape can be stored and multiplied */
export function expectLinearShape(scheme: LinearScheme, n: number, k: number): void {
  const { bits, group } = linearFormat(scheme, k)
  expectMultiple('n', n, PANEL_COLUMNS, scheme)
  expectMultiple('k', k, bits >= 7 ? STEP : Math.max(CHUNK, group), scheme)
}

function expectMultiple(name: string, value: number, multiple: number, scheme: string): void {
  if (Number.isSafeInteger(value) && value >= 0 && value % multiple === 0) return
  throw new ShapeMismatchError(`${name}: expected a multiple of ${multiple} for ${scheme}, got ${value}`)
}

// The plain scalar twin of every kernel. Integer parts and the GEMM epilogue round as the kernels do and match them
// exactly; the rest computes in float64 and is the truth that the kernels' tolerances are measured from.
import { roundHalfToEven } from './pack.ts'

/** 2^-100: see quantize-rows.ts. */
const TINY = 2 ** -100

export interface QuantizedRowsReference {
  /** i8 [m][k], row-major. */
  values: Int8Array
  /** f32 [m]. */
  scales: Float32Array
}

/** f32 [m][k] -> int8 rows: scale = absmax / 127 (1 for a zero row), halves to even; float32 arithmetic as the kernel's. */
export function quantizeRowsReference(src: Float32Array, m: number, k: number): QuantizedRowsReference {
  const values = new Int8Array(m * k)
  const scales = new Float32Array(m)
  for (let row = 0; row < m; row++) {
    let absMax = 0
    for (let i = 0; i < k; i++) absMax = Math.max(absMax, Math.abs(at(src, row * k + i)))
    const scale = absMax < TINY ? 1 : Math.fround(absMax / 127)
    const inverse = Math.fround(1 / scale)
    for (let i = 0; i < k; i++) {
      values[row * k + i] = roundHalfToEven(Math.fround(at(src, row * k + i) * inverse))
    }
    scales[row] = scale
  }
  return { values, scales }
}

export interface GemmReferenceInput {
  /** Quantized rows: values i8 [m][k], scales f32 [m]. */
  a: { values: Int8Array; scales: Float32Array }
  /** i8 [n][k], row-major. */
  weight: Int8Array
  /** f32 [n][k / group]. */
  weightScales: Float32Array
  /** f32 [n]. */
  bias: Float32Array
  m: number
  n: number
  k: number
  /** Consecutive k that share a weight scale. */
  group: number
}

/** (sum_g scale sum_k a w) * aScale + bias as f32 [m][n], every float step rounded to float32 in this order. */
export function gemmReference(input: GemmReferenceInput): Float32Array {
  const { a, weight, weightScales, bias, m, n, k, group } = input
  const groups = group === 0 ? 0 : k / group
  const out = new Float32Array(m * n)
  for (let row = 0; row < m; row++) {
    for (let column = 0; column < n; column++) {
      let sum = 0
      for (let g = 0; g < groups; g++) {
        let groupSum = 0
        for (let i = g * group; i < (g + 1) * group; i++) {
          groupSum += at(a.values, row * k + i) * at(weight, column * k + i)
        }
        const scaled = Math.fround(Math.fround(groupSum) * at(weightScales, column * groups + g))
        sum = Math.fround(sum + scaled)
      }
      out[row * n + column] = Math.fround(sum * at(a.scales, row)) + at(bias, column)
    }
  }
  return out
}

/** Layer normalization of f32 [m][hiddenSize] in float64. */
export function layerNormReference(
  src: Float32Array,
  gamma: Float32Array,
  beta: Float32Array,
  m: number,
  hiddenSize: number,
  eps: number,
): Float64Array {
  const out = new Float64Array(m * hiddenSize)
  for (let row = 0; row < m; row++) {
    const values = src.subarray(row * hiddenSize, (row + 1) * hiddenSize)
    let mean = 0
    for (const value of values) mean += value / hiddenSize
    let variance = 0
    for (const value of values) variance += (value - mean) ** 2 / hiddenSize
    values.forEach((value, i) => {
      out[row * hiddenSize + i] = ((value - mean) / Math.sqrt(variance + eps)) * at(gamma, i) + at(beta, i)
    })
  }
  return out
}

/** Softmax of each row of [m][length] in float64. */
export function softmaxReference(src: Float32Array | Float64Array, m: number, length: number): Float64Array {
  const out = new Float64Array(m * length)
  for (let row = 0; row < m; row++) {
    let top = -Infinity
    for (let i = 0; i < length; i++) top = Math.max(top, at(src, row * length + i))
    let sum = 0
    for (let i = 0; i < length; i++) sum += Math.exp(at(src, row * length + i) - top)
    for (let i = 0; i < length; i++) out[row * length + i] = Math.exp(at(src, row * length + i) - top) / sum
  }
  return out
}

/** x * Phi(x) in float64. */
export function geluReference(x: number): number {
  return 0.5 * x * (1 + erf(x / Math.SQRT2))
}

/**
 * Error function to about 1e-15: erf z = 2/sqrt(pi) exp(-z^2) sum_n 2^n z^(2n+1) / (1 * 3 * ... * (2n+1)).
 * All terms have one sign, so nothing cancels (Abramowitz & Stegun 7.1.6); past |z| = 6 it is +-1 to the last bit.
 */
export function erf(z: number): number {
  if (Math.abs(z) >= 6) return Math.sign(z)
  let term = z
  let sum = z
  for (let n = 1; Math.abs(term) > 1e-17 * Math.abs(sum); n++) {
    term *= (2 * z * z) / (2 * n + 1)
    sum += term
  }
  return (2 / Math.sqrt(Math.PI)) * Math.exp(-z * z) * sum
}

/** Multi-head attention over f32 [seqLen][numHeads * headDim] in float64. */
export function attentionReference(
  q: Float32Array,
  k: Float32Array,
  v: Float32Array,
  seqLen: number,
  numHeads: number,
  headDim: number,
): Float64Array {
  const width = numHeads * headDim
  const out = new Float64Array(seqLen * width)
  for (let head = 0; head < numHeads; head++) {
    for (let query = 0; query < seqLen; query++) {
      const scores = new Float64Array(seqLen)
      for (let key = 0; key < seqLen; key++) {
        let dot = 0
        for (let d = head * headDim; d < (head + 1) * headDim; d++)
          dot += at(q, query * width + d) * at(k, key * width + d)
        scores[key] = dot / Math.sqrt(headDim)
      }
      const weights = softmaxReference(scores, 1, seqLen)
      for (let d = head * headDim; d < (head + 1) * headDim; d++) {
        let sum = 0
        for (let key = 0; key < seqLen; key++) sum += at(weights, key) * at(v, key * width + d)
        out[query * width + d] = sum
      }
    }
  }
  return out
}

/** table[ids[i]] * scales[ids[i]] as f32 [ids.length][hiddenSize]. */
export function embedRowsReference(
  ids: Int32Array,
  table: Int8Array,
  scales: Float32Array,
  hiddenSize: number,
): Float32Array {
  const out = new Float32Array(ids.length * hiddenSize)
  ids.forEach((id, row) => {
    for (let i = 0; i < hiddenSize; i++) out[row * hiddenSize + i] = at(table, id * hiddenSize + i) * at(scales, id)
  })
  return out
}

/** dst + src in float32. */
export function addReference(dst: Float32Array, src: Float32Array): Float32Array {
  return dst.map((value, i) => value + at(src, i))
}

function at(values: ArrayLike<number>, index: number): number {
  const value = values[index]
  if (value === undefined) throw new RangeError(`index ${index} of ${values.length}`)
  return value
}

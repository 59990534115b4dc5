// How much memory a kernel call needs beside its inputs and outputs, counted as the kernels lay it out: what the binding
// takes from the arena, and what bounds the tokens of a pass.
import { MR, NR } from './pack.ts'
import { linearFormat } from './schemes.ts'
import type { LinearScheme } from './schemes.ts'

const F32 = 4
const VECTOR_BYTES = 16

/** Rows padded to whole blocks of 4. */
export function padRows(m: number): number {
  return Math.ceil(m / MR) * MR
}

/** Bytes of the scratch that gemm lays out: starts, the panel's scales, its codes, its widened codes. */
export function gemmScratchBytes(scheme: LinearScheme, m: number, k: number): number {
  const { group } = linearFormat(scheme, k)
  const groups = group === 0 ? 0 : k / group
  return (padRows(m) / MR) * groups * VECTOR_BYTES + groups * NR * F32 + k * NR + k * NR * 2
}

/** Bytes of the scratch that attention lays out: keys, values, queries, weights, scores, and the four kinds of scales. */
export function attentionScratchBytes(seqLen: number, headDim: number): number {
  const keys = Math.ceil(seqLen / 8) * 8
  const int16s = 2 * keys * headDim + 4 * headDim + 4 * keys
  return 2 * int16s + F32 * (4 * keys + keys + headDim + 4 + 4)
}

/** Bytes of the four rows that layerNormQuantize keeps in L1. */
export function layerNormScratchBytes(hiddenSize: number): number {
  return MR * hiddenSize * F32
}

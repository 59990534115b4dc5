// How much memory a kernel call needs beside its inputs and outputs, counted as the kernels lay it out: what the binding
// takes from the arena, and what bounds the tokens of a pass.
import { MR, NR } from './pack.ts'
import type { DotKind } from './kernels.ts'
import { linearFormat } from './schemes.ts'
import type { LinearScheme } from './schemes.ts'

const F32 = 4
const I16 = 2
const VECTOR_BYTES = 16

/** As in assembly/gemm-wide.ts: k of a group are padded to whole fours of steps, rows are widened up to 208 at a time. */
const WIDE_K_STEP = 16
const MAX_WIDE_ROWS = 208
/** As in assembly/tile-strassen.ts; of a factor's k there are half as many. */
const PRODUCTS = 7

/** Rows padded to whole blocks of 4. */
export function padRows(m: number): number {
  return Math.ceil(m / MR) * MR
}

/** Whether a Linear of this scheme runs on int16 pairs: on plain SIMD128 all do, and 8-bit weights do everywhere. */
export function isWideGemm(scheme: LinearScheme, dotKind: DotKind): boolean {
  return scheme === 'w8' || dotKind === 'wide'
}

/**
 * Bytes of the scratch that the GEMM on bytes lays out: starts, the panel's scales, its codes; or with `isWide` the one on
 * int16 pairs: scales, codes of two panels, their products' factors, the rows' factors.
 */
export function gemmScratchBytes(scheme: LinearScheme, m: number, k: number, isWide: boolean): number {
  const { group } = linearFormat(scheme, k)
  const groups = group === 0 ? 0 : k / group
  if (!isWide) return (padRows(m) / MR) * groups * VECTOR_BYTES + groups * NR * F32 + k * NR
  const paddedK = groups * Math.ceil(group / WIDE_K_STEP) * WIDE_K_STEP
  const rowBlocks = padRows(Math.min(m, MAX_WIDE_ROWS)) / MR
  const factorBytes = (PRODUCTS * paddedK * I16) / 2
  return groups * 4 * NR * F32 + 2 * k * NR + factorBytes * (2 * NR + 2 * rowBlocks)
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

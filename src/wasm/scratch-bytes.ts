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
/** k that share a start in assembly/tile-pairs.ts. */
const PAIRS_K_STEP = 8
/** As in assembly/tile-strassen.ts; of a factor's k there are half as many. */
const PRODUCTS = 7

/** Rows padded to whole blocks of 4. */
export function padRows(m: number): number {
  return Math.ceil(m / MR) * MR
}

/**
 * Bytes of the scratch that the GEMM lays out. On bytes: starts, the panel's scales, its codes. On int16 pairs: scales, codes of two
 * panels, their products' factors, the rows' factors.
 */
export function gemmScratchBytes(scheme: LinearScheme, m: number, k: number, dotKind: DotKind): number {
  const { bits, group } = linearFormat(scheme, k)
  const groups = group === 0 ? 0 : k / group
  if (isWideGemm(bits, k, dotKind)) {
    const paddedK = groups * Math.ceil(group / WIDE_K_STEP) * WIDE_K_STEP
    const rowBlocks = padRows(Math.min(m, MAX_WIDE_ROWS)) / MR
    const factorBytes = (PRODUCTS * paddedK * I16) / 2
    return groups * 4 * NR * F32 + 2 * k * NR + factorBytes * (2 * NR + 2 * rowBlocks)
  }
  const startsOfRow = bits === 7 && dotKind === 'pairs' ? k / PAIRS_K_STEP : groups
  return (padRows(m) / MR) * startsOfRow * VECTOR_BYTES + groups * NR * F32 + k * NR
}

/** As in assembly/gemm.ts: on plain SIMD128 all Linears run on int16 pairs, and 8-bit weights do everywhere. */
function isWideGemm(bits: number, k: number, dotKind: DotKind): boolean {
  return bits === 8 || dotKind === 'wide' || (bits === 7 && dotKind === 'pairs' && k % PAIRS_K_STEP !== 0)
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

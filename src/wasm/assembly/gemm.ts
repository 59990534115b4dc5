// Quantized matrix product with its float epilogue: dequantize, bias, optional GELU, optional residual add.
// The integer tile comes from tile-*.ts; a faster tile is a new file with the same signature.

import { DotKind, FUSED, PAIRS, WIDE } from './dot-kind'
import { startsI16, startsI32 } from './row-starts'
import { dotTileFused } from './tile-fused'
import { dotTilePairs } from './tile-pairs'
import { dotTileRuns } from './tile-runs'
import { dotTileWide } from './tile-wide'
import { unpackCodes4, unpackCodes5, unpackCodes6, unpackScales, widenCodes, widenSigned } from './unpack-panel'
import { VectorMath } from './vector-math'

/** Rows and columns of one tile; QuantizedRows and packed weights are laid out for them. */
const MR: i32 = 4
const NR: i32 = 8

/** The f32 sums of the tile in flight. Kernels are not re-entrant: one memory, one caller. */
const TILE = memory.data(128, 16)

/** A tile beside the kinds of dot-kind.ts: integer sums of 4-bit groups fit int16. */
const RUNS: i32 = 3

/** Codes (u8, or i8 at 8 bits) of a stored panel: unpacked to codesPtr, or where they lie when they are bytes already. */
function panelCodes(bits: i32, panelPtr: usize, codesPtr: usize, steps: i32): usize {
  if (bits >= 7) return panelPtr
  if (bits == 4) unpackCodes4(panelPtr, codesPtr, steps)
  else if (bits == 5) unpackCodes5(panelPtr, codesPtr, steps)
  else unpackCodes6(panelPtr, codesPtr, steps)
  return codesPtr
}

/** The tile for these bits on this CPU; `codesPtr` are int16 for the wide one. */
function dotTile(
  tile: i32,
  aPtr: usize,
  codesPtr: usize,
  startsPtr: usize,
  scalesPtr: usize,
  groups: i32,
  groupSteps: i32,
): void {
  if (ASC_FEATURE_RELAXED_SIMD) {
    if (tile == FUSED) dotTileFused(aPtr, codesPtr, startsPtr, scalesPtr, groups, groupSteps, TILE)
    else if (tile == RUNS) dotTileRuns(aPtr, codesPtr, startsPtr, scalesPtr, groups, groupSteps, TILE)
    else if (tile == PAIRS) dotTilePairs(aPtr, codesPtr, startsPtr, scalesPtr, groups, groupSteps, TILE)
    else dotTileWide(aPtr, codesPtr, scalesPtr, groups, groupSteps, TILE)
  } else {
    dotTileWide(aPtr, codesPtr, scalesPtr, groups, groupSteps, TILE)
  }
}

/**
 * out[m][n] = (sum_g scale[g][n] sum_k a[m][k] q[k][n]) * aScale[m] + bias[n], f32 row-major; then GELU when `hasGelu`
 * is 1; then out += that when `isAccumulating` is 1. Rows from m on are never written.
 *
 *   a      [ceil(m/4)][k/4][4 rows][4 k]   i8, rows past m are zeros
 *   w      [n/8][panel]                    a panel's layout depends on `bits`: pack.ts draws them
 *   wScale f32 [n] when group == k, else bf16 [n/8][k/group][8 columns]
 *
 * Scratch, in this order (gemmScratchBytes in scratch-bytes.ts counts it):
 *
 *   starts [ceil(m/4)][k/group][4 rows] i32
 *   scales [k/group][8 columns] f32        this panel's
 *   codes  [k/4][8 columns][4 k] u8        this panel's
 *   wide   [k/4][64 bytes] i16             this panel's, for the wide tile
 *
 * Panels (8 columns) are the outer loop: a panel of 8 k bytes stays in L1 while all row blocks pass.
 */
export function gemm(
  bits: i32,
  group: i32,
  aPtr: usize,
  aScalePtr: usize,
  wPtr: usize,
  wScalePtr: usize,
  biasPtr: usize,
  outPtr: usize,
  m: i32,
  n: i32,
  k: i32,
  hasGelu: i32,
  isAccumulating: i32,
  scratchPtr: usize,
): void {
  const steps = k / 4
  const groups = group == 0 ? 0 : k / group
  const groupSteps = group / 4
  const blocks = (m + MR - 1) / MR
  const startBytes = <usize>groups * 16
  const scalesPtr = scratchPtr + startBytes * blocks
  const codesPtr = scalesPtr + <usize>groups * 32
  const widePtr = codesPtr + <usize>k * NR
  const hasGroups = bits < 7
  const panelBytes = hasGroups ? <usize>k * bits : <usize>k * NR
  const scaleBytes = hasGroups ? <usize>groups * NR * 2 : NR * 4
  const zeroPoint = 1 << (bits - 1)
  const dotKind = DotKind.current
  const tile = bits == 8 ? WIDE : bits == 4 && dotKind == PAIRS ? RUNS : dotKind
  if (tile == RUNS) startsI16(aPtr, blocks, groups, groupSteps, zeroPoint, scratchPtr)
  else if (tile != WIDE) startsI32(aPtr, blocks, groups, groupSteps, zeroPoint, scratchPtr)
  for (let column: i32 = 0; column < n; column += NR) {
    let panelPtr = panelCodes(bits, wPtr, codesPtr, steps)
    let panelScalesPtr = wScalePtr
    if (hasGroups) {
      unpackScales(wScalePtr, scalesPtr, groups * NR)
      panelScalesPtr = scalesPtr
    }
    if (tile == WIDE) {
      if (bits == 8) widenSigned(panelPtr, widePtr, steps)
      else widenCodes(panelPtr, widePtr, steps, zeroPoint)
      panelPtr = widePtr
    }
    for (let row: i32 = 0; row < m; row += MR) {
      const startPtr = scratchPtr + startBytes * (row / MR)
      dotTile(tile, aPtr + <usize>row * k, panelPtr, startPtr, panelScalesPtr, groups, groupSteps)
      const dstPtr = outPtr + 4 * (<usize>row * n + column)
      storeTile(aScalePtr + 4 * row, biasPtr, dstPtr, n, min<i32>(MR, m - row), hasGelu, isAccumulating)
    }
    wPtr += panelBytes
    wScalePtr += scaleBytes
    biasPtr += NR * 4
  }
}

/** Epilogue of the tile in flight: its first `rows` rows to dst, rows `n` floats apart. */
function storeTile(
  aScalePtr: usize,
  biasPtr: usize,
  dstPtr: usize,
  n: i32,
  rows: i32,
  hasGelu: i32,
  isAccumulating: i32,
): void {
  const bias0 = v128.load(biasPtr)
  const bias1 = v128.load(biasPtr, 16)
  for (let r: i32 = 0; r < rows; r++) {
    const aScale = v128.load32_splat(aScalePtr)
    let y0 = f32x4.add(f32x4.mul(v128.load(TILE + 32 * r), aScale), bias0)
    let y1 = f32x4.add(f32x4.mul(v128.load(TILE + 32 * r, 16), aScale), bias1)
    if (hasGelu) {
      y0 = VectorMath.gelu(y0)
      y1 = VectorMath.gelu(y1)
    }
    if (isAccumulating) {
      y0 = f32x4.add(v128.load(dstPtr), y0)
      y1 = f32x4.add(v128.load(dstPtr, 16), y1)
    }
    v128.store(dstPtr, y0)
    v128.store(dstPtr, y1, 16)
    aScalePtr += 4
    dstPtr += 4 * <usize>n
  }
}

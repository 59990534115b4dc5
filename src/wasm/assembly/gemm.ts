// Quantized matrix product with its float epilogue: dequantize, bias, optional GELU, optional residual add.
// The integer tile comes from tile-*.ts; a faster tile is a new file with the same signature.

import { DotKind, FUSED, PAIRS, WIDE } from './dot-kind'
import { gemmWide } from './gemm-wide'
import { startsI16, startsI32 } from './row-starts'
import { storeTile } from './store-tile'
import { dotTileFused } from './tile-fused'
import { dotTilePairs } from './tile-pairs'
import { dotTileQuads } from './tile-quads'
import { dotTileRuns } from './tile-runs'
import { panelCodes, unpackScales } from './unpack-panel'

/** Rows and columns of one tile; QuantizedRows and packed weights are laid out for them. */
const MR: i32 = 4
const NR: i32 = 8

/** The f32 sums of the tile in flight. Kernels are not re-entrant: one memory, one caller. */
const TILE = memory.data(128, 16)

/** Tiles beside the kinds of dot-kind.ts: without a fused dot product, fewer bits leave more sums in int16. */
const RUNS: i32 = 3
const QUADS: i32 = 4

/** What runs on int16 pairs: isWideGemm of scratch-bytes.ts. The tile of 7 bits in pairs takes two steps at a time. */
function isWideGemm(bits: i32, k: i32): bool {
  const dotKind = DotKind.current
  return bits == 8 || dotKind == WIDE || (bits == 7 && dotKind == PAIRS && k % 8 != 0)
}

/** The tile for these bits on this CPU. */
function dotTile(
  tile: i32,
  aPtr: usize,
  codesPtr: usize,
  startsPtr: usize,
  scalesPtr: usize,
  groups: i32,
  groupSteps: i32,
): void {
  if (tile == FUSED) dotTileFused(aPtr, codesPtr, startsPtr, scalesPtr, groups, groupSteps, TILE)
  else if (tile == RUNS) dotTileRuns(aPtr, codesPtr, startsPtr, scalesPtr, groups, groupSteps, TILE)
  else if (tile == QUADS) dotTileQuads(aPtr, codesPtr, startsPtr, scalesPtr, groups, groupSteps, TILE)
  else dotTilePairs(aPtr, codesPtr, startsPtr, scalesPtr, groups, groupSteps, TILE)
}

/**
 * out[m][n] = (sum_g scale[g][n] sum_k a[m][k] q[k][n]) * aScale[m] + bias[n], f32 row-major; then GELU when `hasGelu`
 * is 1; then out += that when `isAccumulating` is 1. Rows from m on are never written.
 *
 *   a      [ceil(m/4)][k/4][4 rows][4 k]   i8, rows past m are zeros
 *   w      [n/8][panel]                    a panel's layout depends on `bits`: pack.ts draws them
 *   wScale f32 [n] when group == k, else bf16 [n/8][k/group][8 columns]
 *
 * gemm-wide.ts does it on int16 pairs, here it is done on bytes.
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
  if (ASC_FEATURE_RELAXED_SIMD) {
    if (!isWideGemm(bits, k)) {
      gemmBytes(
        bits,
        group,
        aPtr,
        aScalePtr,
        wPtr,
        wScalePtr,
        biasPtr,
        outPtr,
        m,
        n,
        k,
        hasGelu,
        isAccumulating,
        scratchPtr,
      )
      return
    }
  }
  gemmWide(bits, group, aPtr, aScalePtr, wPtr, wScalePtr, biasPtr, outPtr, m, n, k, hasGelu, isAccumulating, scratchPtr)
}

/**
 * Scratch, in this order (gemmScratchBytes in scratch-bytes.ts counts it):
 *
 *   starts [ceil(m/4)][k/group][4 rows] i32, for the tile of 7 bits in pairs [ceil(m/4)][k/8][4 rows][2] i16
 *   scales [k/group][8 columns] f32        this panel's
 *   codes  [k/4][8 columns][4 k] u8        this panel's
 *
 * Panels (8 columns) are the outer loop: a panel of 8 k bytes stays in L1 while all row blocks pass.
 */
function gemmBytes(
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
  const dotKind = DotKind.current
  const tile = dotKind == FUSED || bits == 7 ? dotKind : bits == 4 ? RUNS : QUADS
  const startBytes = tile == PAIRS ? <usize>k * 2 : <usize>groups * 16
  const scalesPtr = scratchPtr + startBytes * blocks
  const codesPtr = scalesPtr + <usize>groups * 32
  const hasGroups = bits < 7
  const panelBytes = hasGroups ? <usize>k * bits : <usize>k * NR
  const scaleBytes = hasGroups ? <usize>groups * NR * 2 : NR * 4
  const zeroPoint = 1 << (bits - 1)
  if (tile == RUNS) startsI16(aPtr, blocks, groups, groupSteps, zeroPoint, scratchPtr)
  else if (tile == PAIRS) startsI16(aPtr, blocks, k / 8, 2, zeroPoint, scratchPtr)
  else startsI32(aPtr, blocks, groups, groupSteps, zeroPoint, scratchPtr)
  for (let column: i32 = 0; column < n; column += NR) {
    const panelPtr = panelCodes(bits, wPtr, codesPtr, steps)
    let panelScalesPtr = wScalePtr
    if (hasGroups) {
      unpackScales(wScalePtr, scalesPtr, groups, 32)
      panelScalesPtr = scalesPtr
    }
    for (let row: i32 = 0; row < m; row += MR) {
      const startPtr = scratchPtr + startBytes * (row / MR)
      dotTile(tile, aPtr + <usize>row * k, panelPtr, startPtr, panelScalesPtr, groups, groupSteps)
      const dstPtr = outPtr + 4 * (<usize>row * n + column)
      storeTile(TILE, aScalePtr + 4 * row, biasPtr, dstPtr, n, min<i32>(MR, m - row), hasGelu, isAccumulating)
    }
    wPtr += panelBytes
    wScalePtr += scaleBytes
    biasPtr += NR * 4
  }
}

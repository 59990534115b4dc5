// The matrix product on int16 pairs: for plain SIMD128, and for 8-bit weights everywhere. What it computes, and its arguments,
// are those of gemm.ts; activations and weights are widened to int16 in scratch first.

import { storeTile } from './store-tile'
import { dotTileStrassen, PRODUCTS, STRASSEN_TILE } from './tile-strassen'
import { dotTileWide, WIDE_TILE } from './tile-wide'
import { panelCodes, unpackScales, widenCodes } from './unpack-panel'
import { widenBytes, widenPanelsStrassen } from './widen-panel'
import { widenRows, widenRowsStrassen } from './widen-rows'

/** Columns of a stored panel. */
const NR: i32 = 8

/** Rows that are widened at a time; a pass of more of them widens the weights again. scratch-bytes.ts counts with it. */
const MAX_ROWS: i32 = 208

/** Below this many rows the additions of Strassen's right factors cost more than the products that they save. */
const MIN_STRASSEN_ROWS: i32 = 32

/** In groups of fewer steps (4 k each) the seven short loops cost more than the eighth that they save. */
const MIN_STRASSEN_STEPS: i32 = 16

/**
 * Scratch, in this order (gemmScratchBytes in scratch-bytes.ts counts it), with `padded` the steps of a group rounded up to
 * whole fours:
 *
 *   scales [groups][32 columns] f32
 *   codes  [2 panels][k/4][8 columns][4 k] u8
 *   wide   [groups][7 products][2][padded/2][64 bytes] i16, or two panels
 *   rows   [min(m, 208)/4][groups][7 products][padded/2][16 bytes] i16, or [min(m, 208)/2][groups * padded][16 bytes]
 */
export function gemmWide(
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
  const groups = group == 0 ? 0 : k / group
  const groupSteps = group / 4
  const padded = (groupSteps + 3) & ~3
  const codesPtr = scratchPtr + <usize>groups * 128
  const widePtr = codesPtr + <usize>k * 2 * NR
  const rowsPtr = widePtr + <usize>groups * padded * (PRODUCTS * 64)
  const panelBytes = <usize>(bits < 7 ? k * bits : k * NR)
  const panelScaleBytes = bits < 7 ? <usize>groups * NR * 2 : NR * 4
  for (let first: i32 = 0; first < m; first += MAX_ROWS) {
    const rows = min<i32>(MAX_ROWS, m - first)
    const blocks = (rows + 3) / 4
    const blocksPtr = aPtr + <usize>first * k
    let column: i32 = 0
    if (rows >= MIN_STRASSEN_ROWS && padded >= MIN_STRASSEN_STEPS && n >= 4 * NR) {
      widenRowsStrassen(blocksPtr, rowsPtr, blocks, groups, groupSteps, padded)
      const blockBytes = <usize>groups * padded * (PRODUCTS * 8)
      for (; column + 4 * NR <= n; column += 4 * NR) {
        const panel = <usize>(column / NR)
        const scalesPtr = panelScales(bits, wScalePtr + panel * panelScaleBytes, panelScaleBytes, 4, groups, scratchPtr)
        for (let i: usize = 0; i < 2; i++) {
          const storedPtr = wPtr + (panel + i) * panelBytes
          const left = panelCodes(bits, storedPtr, codesPtr, k / 4)
          const right = panelCodes(bits, storedPtr + 2 * panelBytes, codesPtr + <usize>k * NR, k / 4)
          widenPanelsStrassen(bits, left, right, widePtr + i * padded * 32, groups, groupSteps, padded)
        }
        for (let row: i32 = 0; row < rows; row += 4) {
          dotTileStrassen(rowsPtr + <usize>(row / 4) * blockBytes, widePtr, scalesPtr, groups, padded / 2)
          for (let i: i32 = 0; i < 4; i++) {
            const r = first + row + 2 * (i / 2)
            const c = column + 2 * NR * (i & 1)
            storePanels(STRASSEN_TILE + 128 * i, 2, aScalePtr, biasPtr, outPtr, r, c, m, n, hasGelu, isAccumulating)
          }
        }
      }
    }
    if (column == n) continue
    widenRows(blocksPtr, rowsPtr, blocks, groups, groupSteps, padded)
    const wideBytes = <usize>groups * padded * 64
    for (; column < n; column += 2 * NR) {
      const panel = <usize>(column / NR)
      const panels = min<i32>(2, (n - column) / NR)
      const scalesPtr = panelScales(
        bits,
        wScalePtr + panel * panelScaleBytes,
        panelScaleBytes,
        panels,
        groups,
        scratchPtr,
      )
      for (let i: i32 = 0; i < panels; i++) {
        const storedPtr = wPtr + (panel + i) * panelBytes
        const panelWidePtr = widePtr + <usize>i * wideBytes
        if (bits >= 7) widenBytes(bits, storedPtr, panelWidePtr, groups, groupSteps, padded)
        else widenCodes(bits, storedPtr, panelWidePtr, k / 4)
      }
      for (let row: i32 = 0; row < rows; row += 2) {
        const tileRowsPtr = rowsPtr + <usize>(row / 2) * groups * padded * 16
        dotTileWide(tileRowsPtr, widePtr, widePtr + wideBytes, scalesPtr, groups, padded)
        storePanels(WIDE_TILE, panels, aScalePtr, biasPtr, outPtr, first + row, column, m, n, hasGelu, isAccumulating)
      }
    }
  }
}

/**
 * Scales of up to 4 panels as f32 [groups][32 columns]: unpacked, or where they lie when there is one a channel. A tile reads those
 * of two panels at least, so a single one's are copied to where there is room.
 */
function panelScales(
  bits: i32,
  storedPtr: usize,
  storedBytes: usize,
  panels: i32,
  groups: i32,
  scalesPtr: usize,
): usize {
  if (bits >= 7) {
    if (panels > 1 || groups == 0) return storedPtr
    v128.store(scalesPtr, v128.load(storedPtr))
    v128.store(scalesPtr, v128.load(storedPtr, 16), 16)
    return scalesPtr
  }
  for (let i: i32 = 0; i < panels; i++) unpackScales(storedPtr + storedBytes * i, scalesPtr + 32 * i, groups, 128)
  return scalesPtr
}

/** A tile of 2 rows by `panels` x 8 columns to out[row][column]. */
function storePanels(
  tilePtr: usize,
  panels: i32,
  aScalePtr: usize,
  biasPtr: usize,
  outPtr: usize,
  row: i32,
  column: i32,
  m: i32,
  n: i32,
  hasGelu: i32,
  isAccumulating: i32,
): void {
  for (let i: i32 = 0; i < panels; i++) {
    const dstPtr = outPtr + 4 * (<usize>row * n + column)
    const rows = min<i32>(2, m - row)
    storeTile(tilePtr, aScalePtr + 4 * row, biasPtr + 4 * column, dstPtr, n, rows, hasGelu, isAccumulating)
    tilePtr += 64
    column += NR
  }
}

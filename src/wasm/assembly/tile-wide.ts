// The integer tile of plain SIMD128, and of 8-bit weights everywhere: int16 pairs into int32, 2 rows by 16 columns. Same
// integers as tile-fused.ts for the same numbers.

import { TileSums } from './tile-sums'
import { WideSums } from './wide-sums'

/** f32 [2 panels][2 rows][8 columns]: the tile in flight. */
export const WIDE_TILE = memory.data(128, 16)

/**
 * WIDE_TILE: row r, column c = sum over groups of scale[g][c] * sum_k a[r][k] * w[k][c]; groups in ascending order. Weights are
 * signed here, so no sum needs a start.
 *
 *   a, w, v   as WideSums.accumulate draws them, groupSteps of a group, an even number
 *   scale     [groups][32 columns] f32, the first 16 of them
 */
export function dotTileWide(
  aPtr: usize,
  wPtr: usize,
  vPtr: usize,
  scalePtr: usize,
  groups: i32,
  groupSteps: i32,
): void {
  TileSums.clear(WIDE_TILE)
  for (let group: i32 = 0; group < groups; group++) {
    WideSums.shareBoundsChecks(aPtr, wPtr)
    WideSums.accumulate(aPtr, wPtr, vPtr, groupSteps, 0, 0, 0, scalePtr, WIDE_TILE)
    aPtr += <usize>groupSteps * 16
    wPtr += <usize>groupSteps * 64
    vPtr += <usize>groupSteps * 64
    scalePtr += 128
  }
}

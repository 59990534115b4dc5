// Four wide tiles at once for seven eighths of the products: one level of Strassen's algorithm in Winograd's form. Exact:
// 8-bit values leave int16 room for sums of four, and int32 sums are modulo 2^32. Same integers as tile-wide.ts.

import { TileSums } from './tile-sums'
import { WideSums } from './wide-sums'

/** f32 C11 | C12 | C21 | C22, each [2 panels][2 rows][8 columns]: the tile in flight, 4 rows by 32 columns. */
export const STRASSEN_TILE = memory.data(512, 16)

/** Products of a group. */
export const PRODUCTS: i32 = 7

/** i32 [2 panels][2 rows][8 columns] each. */
const M1 = memory.data(128, 16)
const M5 = memory.data(128, 16)
const U2 = memory.data(128, 16)
const U3 = memory.data(128, 16)

/**
 * STRASSEN_TILE = sum over groups of scale[g] * (A11 A12; A21 A22) (B11 B12; B21 B22), where the rows of A are the first and
 * the last 2 of 4, the columns of B the first and the last 16 of 32, and k is split into even and odd steps:
 *
 *   product   a                    w
 *   M1        A11                  B11
 *   M2        A12                  B21                      C11 = M1 + M2
 *   M6        S2 = A21 + A22 - A11 T2 = B22 - B12 + B11     U2  = M1 + M6
 *   M7        S3 = A11 - A21       T3 = B22 - B12           U3  = U2 + M7
 *   M4        A22                  B21 - T2                 C21 = U3 + M4
 *   M5        S1 = A21 + A22       T1 = B12 - B11           C22 = U3 + M5
 *   M3        S4 = A12 - S2        B22                      C12 = U2 + M5 + M3
 *
 * (Winograd's 15 additions; M4 has the other sign. Additions of a product cost nothing: its sums start from them.)
 *
 *   a       [groups][7 products][halfSteps][16 bytes]             each product as WideSums.accumulate draws it,
 *   w       [groups][7 products][2][halfSteps][64 bytes]          halfSteps an even number
 *   scale   [groups][32 columns] f32
 */
export function dotTileStrassen(aPtr: usize, wPtr: usize, scalePtr: usize, groups: i32, halfSteps: i32): void {
  for (let p: usize = 0; p < 512; p += 128) TileSums.clear(STRASSEN_TILE + p)
  const aBytes = <usize>halfSteps * 16
  const wBytes = <usize>halfSteps * 64
  for (let group: i32 = 0; group < groups; group++) {
    WideSums.shareBoundsChecks(aPtr, wPtr)
    WideSums.accumulate(aPtr, wPtr, wPtr + wBytes, halfSteps, 0, 0, M1, 0, 0)
    aPtr += aBytes
    wPtr += wBytes * 2
    WideSums.accumulate(aPtr, wPtr, wPtr + wBytes, halfSteps, M1, 0, 0, scalePtr, STRASSEN_TILE)
    aPtr += aBytes
    wPtr += wBytes * 2
    WideSums.accumulate(aPtr, wPtr, wPtr + wBytes, halfSteps, M1, 0, U2, 0, 0)
    aPtr += aBytes
    wPtr += wBytes * 2
    WideSums.accumulate(aPtr, wPtr, wPtr + wBytes, halfSteps, U2, 0, U3, 0, 0)
    aPtr += aBytes
    wPtr += wBytes * 2
    WideSums.accumulate(aPtr, wPtr, wPtr + wBytes, halfSteps, U3, 0, 0, scalePtr, STRASSEN_TILE + 256)
    aPtr += aBytes
    wPtr += wBytes * 2
    WideSums.accumulate(aPtr, wPtr, wPtr + wBytes, halfSteps, 0, 0, M5, 0, 0)
    WideSums.addScaled(U3, M5, scalePtr + 64, STRASSEN_TILE + 384)
    aPtr += aBytes
    wPtr += wBytes * 2
    WideSums.accumulate(aPtr, wPtr, wPtr + wBytes, halfSteps, U2, M5, 0, scalePtr + 64, STRASSEN_TILE + 128)
    aPtr += aBytes
    wPtr += wBytes * 2
    scalePtr += 128
  }
}

// From the bits of a stored weight panel (8 columns) to what a tile reads: codes as bytes, or as int16 for the wide tile, and
// scales as f32. pack.ts draws the stored layouts. A panel is unpacked once and used by all row blocks.

import { Wide } from './widen-panel'

const LOW_NIBBLES = memory.data<u32>([0x0f0f0f0f, 0x0f0f0f0f, 0x0f0f0f0f, 0x0f0f0f0f], 16)
const BIT_4 = memory.data<u32>([0x10101010, 0x10101010, 0x10101010, 0x10101010], 16)
const BITS_4_AND_5 = memory.data<u32>([0x30303030, 0x30303030, 0x30303030, 0x30303030], 16)

class Step {
  /** The two vectors of a step: low nibbles of 16 bytes, and high ones. */
  @inline static low(nibbles: v128): v128 {
    return v128.and(nibbles, v128.load(LOW_NIBBLES))
  }

  @inline static high(nibbles: v128): v128 {
    return v128.and(i16x8.shr_u(nibbles, 4), v128.load(LOW_NIBBLES))
  }
}

/** Codes (u8, or i8 at 8 bits) of a stored panel: unpacked to codesPtr, or where they lie when they are bytes already. */
export function panelCodes(bits: i32, panelPtr: usize, codesPtr: usize, steps: i32): usize {
  if (bits >= 7) return panelPtr
  if (bits == 4) unpackCodes4(panelPtr, codesPtr, steps)
  else if (bits == 5) unpackCodes5(panelPtr, codesPtr, steps)
  else unpackCodes6(panelPtr, codesPtr, steps)
  return codesPtr
}

/** Codes of a stored panel of 4 to 6 bits to the int16 of the wide tile, as widenBytes makes them of bytes. */
export function widenCodes(bits: i32, panelPtr: usize, widePtr: usize, steps: i32): void {
  if (bits == 4) widenCodes4(panelPtr, widePtr, steps)
  else if (bits == 5) widenCodes5(panelPtr, widePtr, steps)
  else widenCodes6(panelPtr, widePtr, steps)
}

function unpackCodes4(srcPtr: usize, dstPtr: usize, steps: i32): void {
  Chunk.unpack4(srcPtr, dstPtr, steps, false)
}

function widenCodes4(srcPtr: usize, dstPtr: usize, steps: i32): void {
  Chunk.unpack4(srcPtr, dstPtr, steps, true)
}

function unpackCodes5(srcPtr: usize, dstPtr: usize, steps: i32): void {
  Chunk.unpack5(srcPtr, dstPtr, steps, false)
}

function widenCodes5(srcPtr: usize, dstPtr: usize, steps: i32): void {
  Chunk.unpack5(srcPtr, dstPtr, steps, true)
}

function unpackCodes6(srcPtr: usize, dstPtr: usize, steps: i32): void {
  Chunk.unpack6(srcPtr, dstPtr, steps, false)
}

function widenCodes6(srcPtr: usize, dstPtr: usize, steps: i32): void {
  Chunk.unpack6(srcPtr, dstPtr, steps, true)
}

/** Inlined twice each, for bytes and for int16: `isWide` is a constant. */
class Chunk {
  /** Stored 4-bit panel, 16 bytes a step -> codes [steps][8 columns][4 k]. */
  @inline static unpack4(srcPtr: usize, dstPtr: usize, steps: i32, isWide: bool): void {
    const zeroPoints = i16x8.splat(8)
    const end = srcPtr + <usize>steps * 16
    while (srcPtr < end) {
      const nibbles = v128.load(srcPtr)
      Chunk.store(dstPtr, 0, Step.low(nibbles), zeroPoints, isWide)
      Chunk.store(dstPtr, 1, Step.high(nibbles), zeroPoints, isWide)
      srcPtr += 16
      dstPtr += isWide ? 64 : 32
    }
  }

  /** Stored 5-bit panel, 80 bytes for 4 steps -> codes [steps][8 columns][4 k]; steps % 4 == 0. */
  @inline static unpack5(srcPtr: usize, dstPtr: usize, steps: i32, isWide: bool): void {
    const bit4 = v128.load(BIT_4)
    const zeroPoints = i16x8.splat(16)
    const end = srcPtr + <usize>steps * 20
    while (srcPtr < end) {
      const top = v128.load(srcPtr, 64)
      let nibbles = v128.load(srcPtr)
      Chunk.store(dstPtr, 0, v128.or(Step.low(nibbles), v128.and(i16x8.shl(top, 4), bit4)), zeroPoints, isWide)
      Chunk.store(dstPtr, 1, v128.or(Step.high(nibbles), v128.and(i16x8.shl(top, 3), bit4)), zeroPoints, isWide)
      nibbles = v128.load(srcPtr, 16)
      Chunk.store(dstPtr, 2, v128.or(Step.low(nibbles), v128.and(i16x8.shl(top, 2), bit4)), zeroPoints, isWide)
      Chunk.store(dstPtr, 3, v128.or(Step.high(nibbles), v128.and(i16x8.shl(top, 1), bit4)), zeroPoints, isWide)
      nibbles = v128.load(srcPtr, 32)
      Chunk.store(dstPtr, 4, v128.or(Step.low(nibbles), v128.and(top, bit4)), zeroPoints, isWide)
      Chunk.store(dstPtr, 5, v128.or(Step.high(nibbles), v128.and(i16x8.shr_u(top, 1), bit4)), zeroPoints, isWide)
      nibbles = v128.load(srcPtr, 48)
      Chunk.store(dstPtr, 6, v128.or(Step.low(nibbles), v128.and(i16x8.shr_u(top, 2), bit4)), zeroPoints, isWide)
      Chunk.store(dstPtr, 7, v128.or(Step.high(nibbles), v128.and(i16x8.shr_u(top, 3), bit4)), zeroPoints, isWide)
      srcPtr += 80
      dstPtr += isWide ? 256 : 128
    }
  }

  /** Stored 6-bit panel, 96 bytes for 4 steps -> codes [steps][8 columns][4 k]; steps % 4 == 0. */
  @inline static unpack6(srcPtr: usize, dstPtr: usize, steps: i32, isWide: bool): void {
    const bits45 = v128.load(BITS_4_AND_5)
    const zeroPoints = i16x8.splat(32)
    const end = srcPtr + <usize>steps * 24
    while (srcPtr < end) {
      let top = v128.load(srcPtr, 64)
      let nibbles = v128.load(srcPtr)
      Chunk.store(dstPtr, 0, v128.or(Step.low(nibbles), v128.and(i16x8.shl(top, 4), bits45)), zeroPoints, isWide)
      Chunk.store(dstPtr, 1, v128.or(Step.high(nibbles), v128.and(i16x8.shl(top, 2), bits45)), zeroPoints, isWide)
      nibbles = v128.load(srcPtr, 16)
      Chunk.store(dstPtr, 2, v128.or(Step.low(nibbles), v128.and(top, bits45)), zeroPoints, isWide)
      Chunk.store(dstPtr, 3, v128.or(Step.high(nibbles), v128.and(i16x8.shr_u(top, 2), bits45)), zeroPoints, isWide)
      top = v128.load(srcPtr, 80)
      nibbles = v128.load(srcPtr, 32)
      Chunk.store(dstPtr, 4, v128.or(Step.low(nibbles), v128.and(i16x8.shl(top, 4), bits45)), zeroPoints, isWide)
      Chunk.store(dstPtr, 5, v128.or(Step.high(nibbles), v128.and(i16x8.shl(top, 2), bits45)), zeroPoints, isWide)
      nibbles = v128.load(srcPtr, 48)
      Chunk.store(dstPtr, 6, v128.or(Step.low(nibbles), v128.and(top, bits45)), zeroPoints, isWide)
      Chunk.store(dstPtr, 7, v128.or(Step.high(nibbles), v128.and(i16x8.shr_u(top, 2), bits45)), zeroPoints, isWide)
      srcPtr += 96
      dstPtr += isWide ? 256 : 128
    }
  }

  /** 16 codes, the vector of that number of those at dstPtr; two of them are a step. */
  @inline static store(dstPtr: usize, vector: usize, codes: v128, zeroPoints: v128, isWide: bool): void {
    if (isWide) {
      const stepPtr = dstPtr + 64 * (vector >> 1) + 16 * (vector & 1)
      v128.store(stepPtr, Wide.even(codes, zeroPoints))
      v128.store(stepPtr, Wide.odd(codes, zeroPoints), 32)
    } else {
      v128.store(dstPtr + 16 * vector, codes)
    }
  }
}

/** bf16 [groups][8 columns] -> f32, 8 of every rowBytes. A bf16 is the upper half of an f32. */
export function unpackScales(srcPtr: usize, dstPtr: usize, groups: i32, rowBytes: usize): void {
  const zero = i16x8.splat(0)
  const end = srcPtr + <usize>groups * 16
  while (srcPtr < end) {
    const halves = v128.load(srcPtr)
    v128.store(dstPtr, i16x8.shuffle(zero, halves, 0, 8, 1, 9, 2, 10, 3, 11))
    v128.store(dstPtr, i16x8.shuffle(zero, halves, 4, 12, 5, 13, 6, 14, 7, 15), 16)
    srcPtr += 16
    dstPtr += rowBytes
  }
}

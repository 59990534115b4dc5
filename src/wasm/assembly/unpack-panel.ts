// From the bits of a stored weight panel (8 columns) to what a tile reads: codes as bytes, scales as f32, and for the
// wide tile signed int16. pack.ts draws the stored layouts. A panel is unpacked once and used by all row blocks.

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

/** Stored 4-bit panel, 16 bytes a step -> codes u8 [steps][8 columns][4 k]. */
export function unpackCodes4(srcPtr: usize, dstPtr: usize, steps: i32): void {
  const end = srcPtr + <usize>steps * 16
  while (srcPtr < end) {
    const nibbles = v128.load(srcPtr)
    v128.store(dstPtr, Step.low(nibbles))
    v128.store(dstPtr, Step.high(nibbles), 16)
    srcPtr += 16
    dstPtr += 32
  }
}

/** Stored 5-bit panel, 80 bytes for 4 steps -> codes u8 [steps][8 columns][4 k]; steps % 4 == 0. */
export function unpackCodes5(srcPtr: usize, dstPtr: usize, steps: i32): void {
  const bit4 = v128.load(BIT_4)
  const end = srcPtr + <usize>steps * 20
  while (srcPtr < end) {
    const top = v128.load(srcPtr, 64)
    let nibbles = v128.load(srcPtr)
    v128.store(dstPtr, v128.or(Step.low(nibbles), v128.and(i16x8.shl(top, 4), bit4)))
    v128.store(dstPtr, v128.or(Step.high(nibbles), v128.and(i16x8.shl(top, 3), bit4)), 16)
    nibbles = v128.load(srcPtr, 16)
    v128.store(dstPtr, v128.or(Step.low(nibbles), v128.and(i16x8.shl(top, 2), bit4)), 32)
    v128.store(dstPtr, v128.or(Step.high(nibbles), v128.and(i16x8.shl(top, 1), bit4)), 48)
    nibbles = v128.load(srcPtr, 32)
    v128.store(dstPtr, v128.or(Step.low(nibbles), v128.and(top, bit4)), 64)
    v128.store(dstPtr, v128.or(Step.high(nibbles), v128.and(i16x8.shr_u(top, 1), bit4)), 80)
    nibbles = v128.load(srcPtr, 48)
    v128.store(dstPtr, v128.or(Step.low(nibbles), v128.and(i16x8.shr_u(top, 2), bit4)), 96)
    v128.store(dstPtr, v128.or(Step.high(nibbles), v128.and(i16x8.shr_u(top, 3), bit4)), 112)
    srcPtr += 80
    dstPtr += 128
  }
}

/** Stored 6-bit panel, 96 bytes for 4 steps -> codes u8 [steps][8 columns][4 k]; steps % 4 == 0. */
export function unpackCodes6(srcPtr: usize, dstPtr: usize, steps: i32): void {
  const bits45 = v128.load(BITS_4_AND_5)
  const end = srcPtr + <usize>steps * 24
  while (srcPtr < end) {
    let top = v128.load(srcPtr, 64)
    let nibbles = v128.load(srcPtr)
    v128.store(dstPtr, v128.or(Step.low(nibbles), v128.and(i16x8.shl(top, 4), bits45)))
    v128.store(dstPtr, v128.or(Step.high(nibbles), v128.and(i16x8.shl(top, 2), bits45)), 16)
    nibbles = v128.load(srcPtr, 16)
    v128.store(dstPtr, v128.or(Step.low(nibbles), v128.and(top, bits45)), 32)
    v128.store(dstPtr, v128.or(Step.high(nibbles), v128.and(i16x8.shr_u(top, 2), bits45)), 48)
    top = v128.load(srcPtr, 80)
    nibbles = v128.load(srcPtr, 32)
    v128.store(dstPtr, v128.or(Step.low(nibbles), v128.and(i16x8.shl(top, 4), bits45)), 64)
    v128.store(dstPtr, v128.or(Step.high(nibbles), v128.and(i16x8.shl(top, 2), bits45)), 80)
    nibbles = v128.load(srcPtr, 48)
    v128.store(dstPtr, v128.or(Step.low(nibbles), v128.and(top, bits45)), 96)
    v128.store(dstPtr, v128.or(Step.high(nibbles), v128.and(i16x8.shr_u(top, 2), bits45)), 112)
    srcPtr += 96
    dstPtr += 128
  }
}

/** bf16 [count] -> f32 [count]; count % 8 == 0. A bf16 is the upper half of an f32. */
export function unpackScales(srcPtr: usize, dstPtr: usize, count: i32): void {
  const zero = i16x8.splat(0)
  const end = srcPtr + <usize>count * 2
  while (srcPtr < end) {
    const halves = v128.load(srcPtr)
    v128.store(dstPtr, i16x8.shuffle(zero, halves, 0, 8, 1, 9, 2, 10, 3, 11))
    v128.store(dstPtr, i16x8.shuffle(zero, halves, 4, 12, 5, 13, 6, 14, 7, 15), 16)
    srcPtr += 16
    dstPtr += 32
  }
}

const EVEN_BYTES = memory.data<i16>([255, 255, 255, 255, 255, 255, 255, 255], 16)

/** Codes u8 [steps][8 columns][4 k] -> what tile-wide.ts reads, code - zeroPoint as i16, 64 bytes a step. */
export function widenCodes(srcPtr: usize, dstPtr: usize, steps: i32, zeroPoint: i32): void {
  const zeroPoints = i16x8.splat(<i16>zeroPoint)
  const evenBytes = v128.load(EVEN_BYTES)
  const end = srcPtr + <usize>steps * 32
  while (srcPtr < end) {
    const w0 = v128.load(srcPtr)
    const w1 = v128.load(srcPtr, 16)
    v128.store(dstPtr, i16x8.sub(v128.and(w0, evenBytes), zeroPoints))
    v128.store(dstPtr, i16x8.sub(v128.and(w1, evenBytes), zeroPoints), 16)
    v128.store(dstPtr, i16x8.sub(i16x8.shr_u(w0, 8), zeroPoints), 32)
    v128.store(dstPtr, i16x8.sub(i16x8.shr_u(w1, 8), zeroPoints), 48)
    srcPtr += 32
    dstPtr += 64
  }
}

/** The same for signed bytes i8 [steps][8 columns][4 k]. */
export function widenSigned(srcPtr: usize, dstPtr: usize, steps: i32): void {
  const end = srcPtr + <usize>steps * 32
  while (srcPtr < end) {
    const w0 = v128.load(srcPtr)
    const w1 = v128.load(srcPtr, 16)
    v128.store(dstPtr, i16x8.shr_s(i16x8.shl(w0, 8), 8))
    v128.store(dstPtr, i16x8.shr_s(i16x8.shl(w1, 8), 8), 16)
    v128.store(dstPtr, i16x8.shr_s(w0, 8), 32)
    v128.store(dstPtr, i16x8.shr_s(w1, 8), 48)
    srcPtr += 32
    dstPtr += 64
  }
}

// Weight codes (bytes) to the signed int16 of the wide tiles: code - zeroPoint, once per panel and call.

const EVEN_BYTES = memory.data<i16>([255, 255, 255, 255, 255, 255, 255, 255], 16)

export class Wide {
  /** The codes of even k of 16, without their zero points. */
  @inline static even(codes: v128, zeroPoints: v128): v128 {
    return i16x8.sub(v128.and(codes, v128.load(EVEN_BYTES)), zeroPoints)
  }

  /** Those of odd k. */
  @inline static odd(codes: v128, zeroPoints: v128): v128 {
    return i16x8.sub(i16x8.shr_u(codes, 8), zeroPoints)
  }
}

class Codes {
  /** 16 codes at ptr; those past the end are zero points. `flip` makes signed bytes codes. */
  @inline static load(ptr: usize, end: usize, flip: v128, zeroCodes: v128): v128 {
    return ptr < end ? v128.xor(v128.load(ptr), flip) : zeroCodes
  }
}

/** What turns the stored bytes of these bits into codes: 8-bit weights are signed bytes. */
function flipOf(bits: i32): v128 {
  return i8x16.splat(bits == 8 ? <i8>-128 : 0)
}

/**
 * src u8, or i8 at 8 bits, [groups * groupSteps][8 columns][4 k] -> dst [groups * paddedSteps][64 bytes] as
 * WideSums.accumulate draws it. Steps from groupSteps to paddedSteps are zeros.
 */
export function widenBytes(
  bits: i32,
  srcPtr: usize,
  dstPtr: usize,
  groups: i32,
  groupSteps: i32,
  paddedSteps: i32,
): void {
  const flip = flipOf(bits)
  const zeroPoint = 1 << (bits - 1)
  const zeroPoints = i16x8.splat(<i16>zeroPoint)
  const zeroCodes = i8x16.splat(<i8>zeroPoint)
  for (let group: i32 = 0; group < groups; group++) {
    const srcEnd = srcPtr + <usize>groupSteps * 32
    const end = dstPtr + <usize>paddedSteps * 64
    for (; dstPtr < end; dstPtr += 64) {
      const w0 = Codes.load(srcPtr, srcEnd, flip, zeroCodes)
      const w1 = Codes.load(srcPtr + 16, srcEnd, flip, zeroCodes)
      v128.store(dstPtr, Wide.even(w0, zeroPoints))
      v128.store(dstPtr, Wide.even(w1, zeroPoints), 16)
      v128.store(dstPtr, Wide.odd(w0, zeroPoints), 32)
      v128.store(dstPtr, Wide.odd(w1, zeroPoints), 48)
      srcPtr += 32
    }
    srcPtr = srcEnd
  }
}

/**
 * The right factors of Strassen's products, for 8 of the first 16 columns (src) and 8 of the last 16 (otherSrc) of 32:
 * dst [groups][7 products][2][paddedSteps / 2][64 bytes] in the order of tile-strassen.ts; `dst` points at one of the 2.
 */
export function widenPanelsStrassen(
  bits: i32,
  srcPtr: usize,
  otherSrcPtr: usize,
  dstPtr: usize,
  groups: i32,
  groupSteps: i32,
  paddedSteps: i32,
): void {
  const flip = flipOf(bits)
  const zeroPoint = 1 << (bits - 1)
  const zeroPoints = i16x8.splat(<i16>zeroPoint)
  const zeroCodes = i8x16.splat(<i8>zeroPoint)
  const productBytes = <usize>paddedSteps * 64
  for (let group: i32 = 0; group < groups; group++) {
    const srcEnd = srcPtr + <usize>groupSteps * 32
    const otherEnd = otherSrcPtr + <usize>groupSteps * 32
    const end = dstPtr + <usize>paddedSteps * 32
    for (let p = dstPtr; p < end; p += 64) {
      for (let half: usize = 0; half < 32; half += 16) {
        const b11 = Codes.load(srcPtr + half, srcEnd, flip, zeroCodes)
        const b21 = Codes.load(srcPtr + half + 32, srcEnd, flip, zeroCodes)
        const b12 = Codes.load(otherSrcPtr + half, otherEnd, flip, zeroCodes)
        const b22 = Codes.load(otherSrcPtr + half + 32, otherEnd, flip, zeroCodes)
        storeFactors(
          Wide.even(b11, zeroPoints),
          Wide.even(b12, zeroPoints),
          Wide.even(b21, zeroPoints),
          Wide.even(b22, zeroPoints),
          p + half,
          productBytes,
        )
        storeFactors(
          Wide.odd(b11, zeroPoints),
          Wide.odd(b12, zeroPoints),
          Wide.odd(b21, zeroPoints),
          Wide.odd(b22, zeroPoints),
          p + half + 32,
          productBytes,
        )
      }
      srcPtr += 64
      otherSrcPtr += 64
    }
    srcPtr = srcEnd
    otherSrcPtr = otherEnd
    dstPtr += productBytes * 7
  }
}

function storeFactors(b11: v128, b12: v128, b21: v128, b22: v128, dstPtr: usize, productBytes: usize): void {
  const t1 = i16x8.sub(b12, b11)
  const t2 = i16x8.sub(b22, t1)
  v128.store(dstPtr, b11)
  dstPtr += productBytes
  v128.store(dstPtr, b21)
  dstPtr += productBytes
  v128.store(dstPtr, t2)
  dstPtr += productBytes
  v128.store(dstPtr, i16x8.sub(b22, b12))
  dstPtr += productBytes
  v128.store(dstPtr, i16x8.sub(b21, t2))
  dstPtr += productBytes
  v128.store(dstPtr, t1)
  dstPtr += productBytes
  v128.store(dstPtr, b22)
}

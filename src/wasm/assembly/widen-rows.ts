// int8 row blocks to the int16 rows of the wide tiles, once per call: every panel of weights reads them.

class Halves {
  /** Rows 0 and 1 of a step of 4 rows: even k of each, then odd k of each, two int16 a lane. */
  @inline static first(step: v128): v128 {
    return i32x4.shuffle(i16x8.shr_s(i16x8.shl(step, 8), 8), i16x8.shr_s(step, 8), 0, 1, 4, 5)
  }

  /** Rows 2 and 3. */
  @inline static second(step: v128): v128 {
    return i32x4.shuffle(i16x8.shr_s(i16x8.shl(step, 8), 8), i16x8.shr_s(step, 8), 2, 3, 6, 7)
  }

  /** The step at ptr, zeros where there is none. */
  @inline static load(ptr: usize, end: usize): v128 {
    return ptr < end ? v128.load(ptr) : i32x4.splat(0)
  }
}

/**
 * src i8 [blocks][groups * groupSteps][4 rows][4 k] -> dst [2 * blocks][groups * paddedSteps][16 bytes], 2 rows each, as
 * WideSums.accumulate draws them. Steps from groupSteps to paddedSteps are zeros.
 */
export function widenRows(
  srcPtr: usize,
  dstPtr: usize,
  blocks: i32,
  groups: i32,
  groupSteps: i32,
  paddedSteps: i32,
): void {
  const rowsBytes = <usize>groups * paddedSteps * 16
  for (let block: i32 = 0; block < blocks; block++) {
    for (let group: i32 = 0; group < groups; group++) {
      const srcEnd = srcPtr + <usize>groupSteps * 16
      const end = dstPtr + <usize>paddedSteps * 16
      for (; dstPtr < end; dstPtr += 16) {
        const step = Halves.load(srcPtr, srcEnd)
        v128.store(dstPtr, Halves.first(step))
        v128.store(dstPtr + rowsBytes, Halves.second(step))
        srcPtr += 16
      }
      srcPtr = srcEnd
    }
    dstPtr += rowsBytes
  }
}

/**
 * The same rows as the left factors of Strassen's products: dst [blocks][groups][7 products][paddedSteps / 2][16 bytes],
 * in the order of tile-strassen.ts.
 */
export function widenRowsStrassen(
  srcPtr: usize,
  dstPtr: usize,
  blocks: i32,
  groups: i32,
  groupSteps: i32,
  paddedSteps: i32,
): void {
  const productBytes = <usize>paddedSteps * 8
  for (let i = blocks * groups; i > 0; i--) {
    const srcEnd = srcPtr + <usize>groupSteps * 16
    const end = dstPtr + productBytes
    for (; dstPtr < end; dstPtr += 16) {
      const even = Halves.load(srcPtr, srcEnd)
      const odd = Halves.load(srcPtr + 16, srcEnd)
      const a11 = Halves.first(even)
      const a12 = Halves.first(odd)
      const a21 = Halves.second(even)
      const a22 = Halves.second(odd)
      const s1 = i16x8.add(a21, a22)
      const s2 = i16x8.sub(s1, a11)
      let p = dstPtr
      v128.store(p, a11)
      p += productBytes
      v128.store(p, a12)
      p += productBytes
      v128.store(p, s2)
      p += productBytes
      v128.store(p, i16x8.sub(a11, a21))
      p += productBytes
      v128.store(p, a22)
      p += productBytes
      v128.store(p, s1)
      p += productBytes
      v128.store(p, i16x8.sub(a12, s2))
      srcPtr += 32
    }
    srcPtr = srcEnd
    dstPtr += productBytes * 6
  }
}

// Embedding lookup in a quantized table: 8 or 6 bits with one scale per row, 4 bits with one per 32 values.

const LOW_NIBBLES = memory.data<u32>([0x0f0f0f0f, 0x0f0f0f0f, 0x0f0f0f0f, 0x0f0f0f0f], 16)
const BITS_4_AND_5 = memory.data<u32>([0x30303030, 0x30303030, 0x30303030, 0x30303030], 16)

class Values {
  /** 16 signed bytes times the scale, to 16 floats at dstPtr. */
  @inline static store(dstPtr: usize, bytes: v128, scale: v128): void {
    const low = i16x8.extend_low_i8x16_s(bytes)
    const high = i16x8.extend_high_i8x16_s(bytes)
    v128.store(dstPtr, f32x4.mul(f32x4.convert_i32x4_s(i32x4.extend_low_i16x8_s(low)), scale))
    v128.store(dstPtr, f32x4.mul(f32x4.convert_i32x4_s(i32x4.extend_high_i16x8_s(low)), scale), 16)
    v128.store(dstPtr, f32x4.mul(f32x4.convert_i32x4_s(i32x4.extend_low_i16x8_s(high)), scale), 32)
    v128.store(dstPtr, f32x4.mul(f32x4.convert_i32x4_s(i32x4.extend_high_i16x8_s(high)), scale), 48)
  }
}

/** dst[i] = table[ids[i]] * scale[ids[i]]: ids i32 [count], table i8 [vocab][hiddenSize], dst f32. hiddenSize % 8 == 0. */
export function embedRows8(
  idsPtr: usize,
  count: i32,
  tablePtr: usize,
  scalePtr: usize,
  dstPtr: usize,
  hiddenSize: i32,
): void {
  for (let i: i32 = 0; i < count; i++) {
    const id = <usize>load<i32>(idsPtr + 4 * i)
    const scale = v128.load32_splat(scalePtr + 4 * id)
    const rowPtr = tablePtr + id * hiddenSize
    for (let j: i32 = 0; j < hiddenSize; j += 8) {
      const words = v128.load8x8_s(rowPtr + j)
      v128.store(dstPtr, f32x4.mul(f32x4.convert_i32x4_s(i32x4.extend_low_i16x8_s(words)), scale))
      v128.store(dstPtr, f32x4.mul(f32x4.convert_i32x4_s(i32x4.extend_high_i16x8_s(words)), scale), 16)
      dstPtr += 32
    }
  }
}

/**
 * The same for a table of 6-bit codes, value = (code - 32) * scale; hiddenSize % 64 == 0. 64 values take 48 bytes:
 *
 *    0..15  low nibbles of values  0..15 | of values 16..31 << 4
 *   16..31  low nibbles of values 32..47 | of values 48..63 << 4
 *   32..47  bits 4 and 5 of values 0..15 | of 16..31 << 2 | of 32..47 << 4 | of 48..63 << 6
 */
export function embedRows6(
  idsPtr: usize,
  count: i32,
  tablePtr: usize,
  scalePtr: usize,
  dstPtr: usize,
  hiddenSize: i32,
): void {
  const low = v128.load(LOW_NIBBLES)
  const bits45 = v128.load(BITS_4_AND_5)
  const middle = i8x16.splat(32)
  const rowBytes = (<usize>hiddenSize * 6) / 8
  for (let i: i32 = 0; i < count; i++) {
    const id = <usize>load<i32>(idsPtr + 4 * i)
    const scale = v128.load32_splat(scalePtr + 4 * id)
    let ptr = tablePtr + id * rowBytes
    const end = ptr + rowBytes
    for (; ptr < end; ptr += 48) {
      const first = v128.load(ptr)
      const second = v128.load(ptr, 16)
      const top = v128.load(ptr, 32)
      const v0 = v128.or(v128.and(first, low), v128.and(i16x8.shl(top, 4), bits45))
      const v1 = v128.or(v128.and(i16x8.shr_u(first, 4), low), v128.and(i16x8.shl(top, 2), bits45))
      const v2 = v128.or(v128.and(second, low), v128.and(top, bits45))
      const v3 = v128.or(v128.and(i16x8.shr_u(second, 4), low), v128.and(i16x8.shr_u(top, 2), bits45))
      Values.store(dstPtr, i8x16.sub(v0, middle), scale)
      Values.store(dstPtr + 64, i8x16.sub(v1, middle), scale)
      Values.store(dstPtr + 128, i8x16.sub(v2, middle), scale)
      Values.store(dstPtr + 192, i8x16.sub(v3, middle), scale)
      dstPtr += 256
    }
  }
}

/**
 * The same for a table of 4-bit codes, value = (code - 8) * scale with bf16 scales [vocab][hiddenSize / 32];
 * hiddenSize % 32 == 0. 32 values take 16 bytes: values 0..15 in the low nibbles, 16..31 in the high ones.
 */
export function embedRows4(
  idsPtr: usize,
  count: i32,
  tablePtr: usize,
  scalePtr: usize,
  dstPtr: usize,
  hiddenSize: i32,
): void {
  const low = v128.load(LOW_NIBBLES)
  const middle = i8x16.splat(8)
  const groups = hiddenSize / 32
  for (let i: i32 = 0; i < count; i++) {
    const id = <usize>load<i32>(idsPtr + 4 * i)
    let ptr = tablePtr + id * groups * 16
    let groupScalePtr = scalePtr + id * groups * 2
    for (let g: i32 = 0; g < groups; g++) {
      const scale = i32x4.shl(i32x4.splat(<i32>load<u16>(groupScalePtr)), 16)
      const codes = v128.load(ptr)
      Values.store(dstPtr, i8x16.sub(v128.and(codes, low), middle), scale)
      Values.store(dstPtr + 64, i8x16.sub(v128.and(i16x8.shr_u(codes, 4), low), middle), scale)
      ptr += 16
      groupScalePtr += 2
      dstPtr += 128
    }
  }
}

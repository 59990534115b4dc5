// Embedding lookup in an int8 table with one scale per row.

/** dst[i] = table[ids[i]] * scale[ids[i]]: ids i32 [count], table i8 [vocab][hiddenSize], dst f32. hiddenSize % 8 == 0. */
export function embedRowsI8(
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

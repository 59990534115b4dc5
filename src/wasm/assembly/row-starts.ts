// What the sums of a tile start from: minus the zero point of the weights times the sum of the activations.
// Codes are unsigned, so sum a (code - zp) = sum a code - zp sum a; the second part does not depend on the column.

/**
 * starts[block][group] = -zeroPoint * (sum of the group's k), one i32 for each of 4 rows.
 *
 *   a       [blocks][groups * groupSteps][4 rows][4 k]  i8
 *   starts  [blocks][groups][4 rows]                    i32
 */
export function startsI32(
  aPtr: usize,
  blocks: i32,
  groups: i32,
  groupSteps: i32,
  zeroPoint: i32,
  startsPtr: usize,
): void {
  const factor = i32x4.splat(-zeroPoint)
  for (let i = blocks * groups; i > 0; i--) {
    let sum = i32x4.splat(0)
    const end = aPtr + <usize>groupSteps * 16
    for (; aPtr < end; aPtr += 16) {
      sum = i32x4.add(sum, i32x4.extadd_pairwise_i16x8_s(i16x8.extadd_pairwise_i8x16_s(v128.load(aPtr))))
    }
    v128.store(startsPtr, i32x4.mul(sum, factor))
    startsPtr += 16
  }
}

/**
 * The same for int16 sums, modulo 2^16: two i16 for each of 4 rows, the k of each step's first byte pair and those of
 * its second.
 */
export function startsI16(
  aPtr: usize,
  blocks: i32,
  groups: i32,
  groupSteps: i32,
  zeroPoint: i32,
  startsPtr: usize,
): void {
  const factor = i16x8.splat(<i16>-zeroPoint)
  for (let i = blocks * groups; i > 0; i--) {
    let sum = i16x8.splat(0)
    const end = aPtr + <usize>groupSteps * 16
    for (; aPtr < end; aPtr += 16) sum = i16x8.add(sum, i16x8.extadd_pairwise_i8x16_s(v128.load(aPtr)))
    v128.store(startsPtr, i16x8.mul(sum, factor))
    startsPtr += 16
  }
}

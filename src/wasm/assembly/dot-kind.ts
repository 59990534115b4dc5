// Which integer dot product this CPU and build run on. Asked of the instruction itself: Workers have no other way to
// see the CPU.

export const WIDE: i32 = 0
export const PAIRS: i32 = 1
export const FUSED: i32 = 2

/** Read from memory, so that no compiler folds the probe. */
const PROBE = memory.data<u32>([0x7f7f7f7f, 0x7f7f7f7f, 0x7f7f7f7f, 0x7f7f7f7f, ~0, ~0, ~0, ~0], 16)

/**
 * The relaxed dot product with addition, of four 127 and four 0xff: its second operand is outside 0..127, where the
 * instruction sets differ. x86's byte pairs in int16 saturate: 2 * 32767. VNNI multiplies by 255 in int32: 129540.
 * ARM's signed dot product multiplies by -1: -508.
 */
const SATURATED: i32 = 65534

/** PAIRS also where V8 would take the fused instruction apart: it then makes a constant anew at each use. */
function detect(): i32 {
  if (ASC_FEATURE_RELAXED_SIMD) {
    const sums = i32x4.relaxed_dot_i8x16_i7x16_add_s(v128.load(PROBE), v128.load(PROBE, 16), i32x4.splat(0))
    return i32x4.extract_lane(sums, 0) == SATURATED ? PAIRS : FUSED
  } else {
    return WIDE
  }
}

export class DotKind {
  static current: i32 = detect()
}

// Four-lane float helpers that the element-wise kernels share: powers of two, GELU, fixed-order reductions, ragged tails.
// No relaxed instruction and one fixed order of operations: both builds must give the same bits.

// Constants are read from memory: V8 rebuilds a v128 constant from integer registers at every use.
// prettier-ignore
const TABLE = memory.data<f32>([
  -126, -126, -126, -126, //                            0: 2^-126, below it floats are subnormal
  12583039, 12583039, 12583039, 12583039, //           16: 1.5 * 2^23 + 127, the bias of an exponent
  0.00958285325, 0.00958285325, 0.00958285325, 0.00958285325, // 32..80: c4..c1 of 2^x's polynomial
  0.0559064254, 0.0559064254, 0.0559064254, 0.0559064254,
  0.240240986, 0.240240986, 0.240240986, 0.240240986,
  0.693124193, 0.693124193, 0.693124193, 0.693124193,
  1.0, 1.0, 1.0, 1.0, //                               96: c0
  1.04426741, 1.04426741, 1.04426741, 1.04426741, //  112..192: a0..a5 of GELU's polynomial
  0.0521368186, 0.0521368186, 0.0521368186, 0.0521368186,
  0.0218888393, 0.0218888393, 0.0218888393, 0.0218888393,
  0.00367392998, 0.00367392998, 0.00367392998, 0.00367392998,
  -0.000122247815, -0.000122247815, -0.000122247815, -0.000122247815,
  0.000100269874, 0.000100269874, 0.000100269874, 0.000100269874,
], 16)

/** 1.5 * 2^23: adding it rounds a float of magnitude below 2^22 to an integer, halves to even, held in the low bits. */
const MAGIC = memory.data<f32>([12582912, 12582912, 12582912, 12582912], 16)

/** Everything but the sign. */
const MAGNITUDE_BITS = memory.data<u32>([0x7fffffff, 0x7fffffff, 0x7fffffff, 0x7fffffff], 16)

export class VectorMath {
  /**
   * 2^x for x <= 0, relative error below 3e-6: a softmax weight is rounded to 15 bits. Below -126 it stays there.
   * x = n + f with |f| <= 1/2; 1 + c1 f + .. + c4 f^4 is fitted to 2^f for the least relative error, 2.9e-6.
   */
  @inline static exp2(x: v128): v128 {
    const clamped = f32x4.pmax(x, v128.load(TABLE, 0))
    // n twice: as a float, and with its bias in the low bits of the sum, from where it goes into the exponent.
    const rounded = f32x4.add(clamped, v128.load(TABLE, 16))
    const f = f32x4.sub(clamped, f32x4.sub(rounded, v128.load(TABLE, 16)))
    let p = f32x4.add(f32x4.mul(f, v128.load(TABLE, 32)), v128.load(TABLE, 48))
    p = f32x4.add(f32x4.mul(p, f), v128.load(TABLE, 64))
    p = f32x4.add(f32x4.mul(p, f), v128.load(TABLE, 80))
    p = f32x4.add(f32x4.mul(p, f), v128.load(TABLE, 96))
    return f32x4.mul(p, i32x4.shl(rounded, 23))
  }

  /**
   * x * Phi(x) with the exact (erf) normal distribution, absolute error below 2e-6 for |x| <= 8 and 1e-8 beyond.
   * max(x, 0) - |x| Phi(-|x|), which loses nothing to cancellation on the negative side. Of the form of Abramowitz &
   * Stegun 7.1.28, Phi(-z) = 1 / (a0 + a1 z + ... + a5 z^5)^16, with a fitted to z Phi(-z) for the least absolute
   * error, 1.5e-6, where theirs has a degree more and two products around it.
   */
  @inline static gelu(x: v128): v128 {
    const z = v128.and(x, v128.load(MAGNITUDE_BITS))
    let p = f32x4.add(f32x4.mul(z, v128.load(TABLE, 192)), v128.load(TABLE, 176))
    p = f32x4.add(f32x4.mul(p, z), v128.load(TABLE, 160))
    p = f32x4.add(f32x4.mul(p, z), v128.load(TABLE, 144))
    p = f32x4.add(f32x4.mul(p, z), v128.load(TABLE, 128))
    p = f32x4.add(f32x4.mul(p, z), v128.load(TABLE, 112))
    p = f32x4.mul(p, p)
    p = f32x4.mul(p, p)
    p = f32x4.mul(p, p)
    p = f32x4.mul(p, p)
    return f32x4.sub(f32x4.pmax(x, f32x4.splat(0)), f32x4.div(z, p))
  }

  /**
   * Nearest integers as i32, halves to even, of floats of magnitude below 2^22; anything else gives some integer. Three
   * instructions less than the saturating conversion takes on x86.
   */
  @inline static roundToI32(x: v128): v128 {
    return i32x4.sub(f32x4.add(x, v128.load(MAGIC)), v128.load(MAGIC))
  }

  /**
   * The larger magnitude, lane by lane, of `largest` (not negative) and x; NaN is larger than all. As integers the bits
   * of floats without a sign are in the same order, and f32x4.max takes seven instructions on x86.
   */
  @inline static maxMagnitude(largest: v128, x: v128): v128 {
    return i32x4.max_s(largest, v128.and(x, v128.load(MAGNITUDE_BITS)))
  }

  /** (lane 0 + lane 1) + (lane 2 + lane 3) of each of four vectors, one a lane. */
  @inline static sums(a: v128, b: v128, c: v128, d: v128): v128 {
    const ab = f32x4.add(i32x4.shuffle(a, b, 0, 2, 4, 6), i32x4.shuffle(a, b, 1, 3, 5, 7))
    const cd = f32x4.add(i32x4.shuffle(c, d, 0, 2, 4, 6), i32x4.shuffle(c, d, 1, 3, 5, 7))
    return f32x4.add(i32x4.shuffle(ab, cd, 0, 2, 4, 6), i32x4.shuffle(ab, cd, 1, 3, 5, 7))
  }

  /** Largest lane of each of four vectors of magnitudes, one a lane; NaN if any is NaN, as maxMagnitude has it. */
  @inline static magnitudes(a: v128, b: v128, c: v128, d: v128): v128 {
    const ab = i32x4.max_s(i32x4.shuffle(a, b, 0, 2, 4, 6), i32x4.shuffle(a, b, 1, 3, 5, 7))
    const cd = i32x4.max_s(i32x4.shuffle(c, d, 0, 2, 4, 6), i32x4.shuffle(c, d, 1, 3, 5, 7))
    return i32x4.max_s(i32x4.shuffle(ab, cd, 0, 2, 4, 6), i32x4.shuffle(ab, cd, 1, 3, 5, 7))
  }

  /** The first `count` (1..3) floats at ptr; the other lanes hold `fill`. Reads nothing past them. */
  static loadTail(ptr: usize, count: i32, fill: f32): v128 {
    let v = f32x4.replace_lane(f32x4.splat(fill), 0, load<f32>(ptr))
    if (count > 1) v = f32x4.replace_lane(v, 1, load<f32>(ptr, 4))
    if (count > 2) v = f32x4.replace_lane(v, 2, load<f32>(ptr, 8))
    return v
  }

  /** Stores the first `count` (1..3) lanes. */
  static storeTail(ptr: usize, v: v128, count: i32): void {
    store<f32>(ptr, f32x4.extract_lane(v, 0))
    if (count > 1) store<f32>(ptr, f32x4.extract_lane(v, 1), 4)
    if (count > 2) store<f32>(ptr, f32x4.extract_lane(v, 2), 8)
  }
}

// Four-lane float helpers that the element-wise kernels share: exp, GELU, fixed-order reductions, ragged tails.
// No relaxed instruction and one fixed order of operations: both builds must give the same bits.

// Constants are read from memory: V8 rebuilds a v128 constant from integer registers at every use.
// prettier-ignore
const TABLE = memory.data<f32>([
  -87.33654, -87.33654, -87.33654, -87.33654, //             0: ln(2^-126), below it exp is subnormal
  1.44269504, 1.44269504, 1.44269504, 1.44269504, //        16: 1 / ln 2
  0.693359375, 0.693359375, 0.693359375, 0.693359375, //    32: ln 2, high part (exact in 10 bits)
  -2.12194440e-4, -2.12194440e-4, -2.12194440e-4, -2.12194440e-4, // 48: ln 2, low part
  1.9875691500e-4, 1.9875691500e-4, 1.9875691500e-4, 1.9875691500e-4, // 64..144: Cephes expf polynomial
  1.3981999507e-3, 1.3981999507e-3, 1.3981999507e-3, 1.3981999507e-3,
  8.3334519073e-3, 8.3334519073e-3, 8.3334519073e-3, 8.3334519073e-3,
  4.1665795894e-2, 4.1665795894e-2, 4.1665795894e-2, 4.1665795894e-2,
  1.6666665459e-1, 1.6666665459e-1, 1.6666665459e-1, 1.6666665459e-1,
  0.5, 0.5, 0.5, 0.5, //                                   144
  1.0, 1.0, 1.0, 1.0, //                                   160
  0.70710678, 0.70710678, 0.70710678, 0.70710678, //       176: 1 / sqrt 2
  0.0705230784, 0.0705230784, 0.0705230784, 0.0705230784, // 192..272: a1..a6 of A&S 7.1.28
  0.0422820123, 0.0422820123, 0.0422820123, 0.0422820123,
  0.0092705272, 0.0092705272, 0.0092705272, 0.0092705272,
  0.0001520143, 0.0001520143, 0.0001520143, 0.0001520143,
  0.0002765672, 0.0002765672, 0.0002765672, 0.0002765672,
  0.0000430638, 0.0000430638, 0.0000430638, 0.0000430638,
], 16)
const EXPONENT_BIAS = memory.data<i32>([127, 127, 127, 127], 16)

export class VectorMath {
  /**
   * exp(x) for x <= 0, relative error below 2e-7; results under 2^-126 become 0. NaN stays NaN.
   * Cephes expf: x = n ln 2 + r with |r| <= ln 2 / 2, a degree-6 polynomial in r, times 2^n.
   */
  @inline static exp(x: v128): v128 {
    const isNormal = v128.not(f32x4.lt(x, v128.load(TABLE, 0)))
    const clamped = f32x4.max(x, v128.load(TABLE, 0))
    const n = f32x4.nearest(f32x4.mul(clamped, v128.load(TABLE, 16)))
    let r = f32x4.sub(clamped, f32x4.mul(n, v128.load(TABLE, 32)))
    r = f32x4.sub(r, f32x4.mul(n, v128.load(TABLE, 48)))
    let p = v128.load(TABLE, 64)
    p = f32x4.add(f32x4.mul(p, r), v128.load(TABLE, 80))
    p = f32x4.add(f32x4.mul(p, r), v128.load(TABLE, 96))
    p = f32x4.add(f32x4.mul(p, r), v128.load(TABLE, 112))
    p = f32x4.add(f32x4.mul(p, r), v128.load(TABLE, 128))
    p = f32x4.add(f32x4.mul(p, r), v128.load(TABLE, 144))
    p = f32x4.add(f32x4.mul(p, f32x4.mul(r, r)), f32x4.add(r, v128.load(TABLE, 160)))
    const biased = i32x4.add(i32x4.trunc_sat_f32x4_s(n), v128.load(EXPONENT_BIAS))
    return v128.and(f32x4.mul(p, i32x4.shl(biased, 23)), isNormal)
  }

  /**
   * x * Phi(x) with the exact (erf) normal distribution, absolute error below 1e-6 for |x| <= 8; finite x.
   * Abramowitz & Stegun 7.1.28: erfc(z) = 1 / (1 + a1 z + ... + a6 z^6)^16 within 3e-7, used as
   * max(x, 0) - |x|/2 erfc(|x| / sqrt 2), which loses nothing to cancellation on the negative side.
   */
  @inline static gelu(x: v128): v128 {
    const magnitude = f32x4.abs(x)
    const z = f32x4.mul(magnitude, v128.load(TABLE, 176))
    let p = v128.load(TABLE, 272)
    p = f32x4.add(f32x4.mul(p, z), v128.load(TABLE, 256))
    p = f32x4.add(f32x4.mul(p, z), v128.load(TABLE, 240))
    p = f32x4.add(f32x4.mul(p, z), v128.load(TABLE, 224))
    p = f32x4.add(f32x4.mul(p, z), v128.load(TABLE, 208))
    p = f32x4.add(f32x4.mul(p, z), v128.load(TABLE, 192))
    p = f32x4.add(f32x4.mul(p, z), v128.load(TABLE, 160))
    p = f32x4.mul(p, p)
    p = f32x4.mul(p, p)
    p = f32x4.mul(p, p)
    p = f32x4.mul(p, p)
    const tail = f32x4.div(f32x4.mul(magnitude, v128.load(TABLE, 144)), p)
    return f32x4.sub(f32x4.max(x, f32x4.splat(0)), tail)
  }

  /** (lane 0 + lane 1) + (lane 2 + lane 3). */
  @inline static sum(v: v128): f32 {
    return f32x4.extract_lane(v, 0) + f32x4.extract_lane(v, 1) + (f32x4.extract_lane(v, 2) + f32x4.extract_lane(v, 3))
  }

  /** Largest lane; NaN if any lane is NaN. */
  @inline static max(v: v128): f32 {
    return max<f32>(
      max<f32>(f32x4.extract_lane(v, 0), f32x4.extract_lane(v, 1)),
      max<f32>(f32x4.extract_lane(v, 2), f32x4.extract_lane(v, 3)),
    )
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

// Softmax between attention's two products, 4 queries at a time: float scores to int16 weights.

import { VectorMath } from './vector-math'

/** What the weights of a query add up to, but for their roundings. */
const WEIGHT_SUM: f32 = 32767

/** Eight int16 ones: the second factor that adds int16 pairs into int32. */
const ONES = memory.data<i16>([1, 1, 1, 1, 1, 1, 1, 1], 16)

class Weight {
  /** Eight scores of one query to 2^(score - top) in place; returns their sum, lane by lane. */
  @inline static numerators(ptr: usize, offset: usize, top: v128): v128 {
    const first = VectorMath.exp2(f32x4.sub(v128.load(ptr + offset), top))
    const second = VectorMath.exp2(f32x4.sub(v128.load(ptr + offset, 16), top))
    v128.store(ptr + offset, first)
    v128.store(ptr + offset, second, 16)
    return f32x4.add(first, second)
  }

  @inline static four(ptr: usize, offset: usize, factor: v128): v128 {
    return VectorMath.roundToI32(f32x4.mul(v128.load(ptr + offset), factor))
  }
}

/** Largest score of each query, one a lane. */
function largestScores(scoresPtr: usize, end: usize): v128 {
  let m0 = f32x4.splat(-Infinity)
  let m1 = m0
  let m2 = m0
  let m3 = m0
  for (; scoresPtr < end; scoresPtr += 128) {
    m0 = f32x4.pmax(f32x4.pmax(m0, v128.load(scoresPtr)), v128.load(scoresPtr, 16))
    m1 = f32x4.pmax(f32x4.pmax(m1, v128.load(scoresPtr, 32)), v128.load(scoresPtr, 48))
    m2 = f32x4.pmax(f32x4.pmax(m2, v128.load(scoresPtr, 64)), v128.load(scoresPtr, 80))
    m3 = f32x4.pmax(f32x4.pmax(m3, v128.load(scoresPtr, 96)), v128.load(scoresPtr, 112))
  }
  const m01 = f32x4.pmax(i32x4.shuffle(m0, m1, 0, 2, 4, 6), i32x4.shuffle(m0, m1, 1, 3, 5, 7))
  const m23 = f32x4.pmax(i32x4.shuffle(m2, m3, 0, 2, 4, 6), i32x4.shuffle(m2, m3, 1, 3, 5, 7))
  return f32x4.pmax(i32x4.shuffle(m01, m23, 0, 2, 4, 6), i32x4.shuffle(m01, m23, 1, 3, 5, 7))
}

/** Scores to numerators in place; returns WEIGHT_SUM over their sum, one query a lane. */
function exponentials(scoresPtr: usize, end: usize): v128 {
  const tops = largestScores(scoresPtr, end)
  const t0 = i32x4.shuffle(tops, tops, 0, 0, 0, 0)
  const t1 = i32x4.shuffle(tops, tops, 1, 1, 1, 1)
  const t2 = i32x4.shuffle(tops, tops, 2, 2, 2, 2)
  const t3 = i32x4.shuffle(tops, tops, 3, 3, 3, 3)
  let s0 = f32x4.splat(0)
  let s1 = s0
  let s2 = s0
  let s3 = s0
  for (; scoresPtr < end; scoresPtr += 128) {
    s0 = f32x4.add(s0, Weight.numerators(scoresPtr, 0, t0))
    s1 = f32x4.add(s1, Weight.numerators(scoresPtr, 32, t1))
    s2 = f32x4.add(s2, Weight.numerators(scoresPtr, 64, t2))
    s3 = f32x4.add(s3, Weight.numerators(scoresPtr, 96, t3))
  }
  return f32x4.div(f32x4.splat(WEIGHT_SUM), VectorMath.sums(s0, s1, s2, s3))
}

/**
 * Scores, in powers of two, to softmax weights as integers, and 1 / their sum for each query, so that its weights add up
 * to 1. A score of -Infinity weighs nothing; NaN or an infinite maximum makes the inverse NaN.
 *
 *   scores   [tiles][4 queries][8 keys] f32, overwritten
 *   weights  [tiles][4 pairs][4 queries][2 keys] i16
 *   inverse  [4] f32
 */
export function softmaxTiles(scoresPtr: usize, tiles: i32, weightsPtr: usize, inversePtr: usize): void {
  const end = scoresPtr + <usize>tiles * 128
  const factors = exponentials(scoresPtr, end)
  const f0 = i32x4.shuffle(factors, factors, 0, 0, 0, 0)
  const f1 = i32x4.shuffle(factors, factors, 1, 1, 1, 1)
  const f2 = i32x4.shuffle(factors, factors, 2, 2, 2, 2)
  const f3 = i32x4.shuffle(factors, factors, 3, 3, 3, 3)
  let sums = i32x4.splat(0)
  for (; scoresPtr < end; scoresPtr += 128) {
    for (let half: usize = 0; half < 32; half += 16) {
      const ptr = scoresPtr + half
      const low = i16x8.narrow_i32x4_s(Weight.four(ptr, 0, f0), Weight.four(ptr, 32, f1))
      const high = i16x8.narrow_i32x4_s(Weight.four(ptr, 64, f2), Weight.four(ptr, 96, f3))
      const first = i32x4.shuffle(low, high, 0, 2, 4, 6)
      const second = i32x4.shuffle(low, high, 1, 3, 5, 7)
      sums = i32x4.add(sums, i32x4.dot_i16x8_s(first, v128.load(ONES)))
      sums = i32x4.add(sums, i32x4.dot_i16x8_s(second, v128.load(ONES)))
      v128.store(weightsPtr, first)
      v128.store(weightsPtr, second, 16)
      weightsPtr += 32
    }
  }
  // Integers do not show a NaN; the difference is 0 without one.
  const poison = f32x4.sub(factors, factors)
  v128.store(inversePtr, f32x4.add(f32x4.div(f32x4.splat(1), f32x4.convert_i32x4_s(sums)), poison))
}

// Ranks, recall at k and its uncertainty. Pure numbers; knows nothing of pictures, texts or engines.

/** The cutoffs of retrieval tables in the FLAVA and CLIP papers, and 10. */
const CUTOFFS = [1, 5, 10] as const

/** One query's outcome: how many other candidates score at least as high as the right one, out of how many in all. */
export interface RankedQuery {
  rank: number
  gallerySize: number
}

export interface Recalls {
  /** Percent of queries whose right answer is among the first 1, 5 and 10. */
  r1: number
  r5: number
  r10: number
  n: number
}

/**
 * 0 when the candidate `target` scores above every other one. Ties count against it: a model that gives all candidates one score must
 * not be right by its place in a list. NaN never wins: a NaN target comes last, a NaN rival counts as ahead.
 */
export function pessimisticRank(scores: ArrayLike<number>, target: number): number {
  const wanted = scores[target] ?? Number.NaN
  let rank = 0
  for (let index = 0; index < scores.length; index++) {
    if (index !== target && !(Number(scores[index]) < wanted)) rank++
  }
  return rank
}

/**
 * Ranks each query against its own target among the same candidates, by dot product.
 * @param queries f32 [queries][dim], unit length for cosine
 * @param gallery f32 [candidates][dim]
 * @param targets index into `gallery` of each query's right answer
 */
export function rankByDotProduct(
  queries: readonly Float32Array[],
  gallery: readonly Float32Array[],
  targets: readonly number[],
): RankedQuery[] {
  const scores = new Float64Array(gallery.length)
  return queries.map((query, index) => {
    gallery.forEach((candidate, position) => (scores[position] = dotProduct(query, candidate)))
    return { rank: pessimisticRank(scores, targets[index] ?? -1), gallerySize: gallery.length }
  })
}

/**
 * In f64 and in one order, so that equal vectors give equal scores, and ties are ties. Four sums, since one alone waits for each
 * addition: 2.5 times faster, which the pixel floor's ten million products need.
 */
export function dotProduct(a: Float32Array, b: Float32Array): number {
  let [sum0, sum1, sum2, sum3] = [0, 0, 0, 0]
  const quads = a.length - (a.length % 4)
  for (let index = 0; index < quads; index += 4) {
    sum0 += a[index]! * b[index]!
    sum1 += a[index + 1]! * b[index + 1]!
    sum2 += a[index + 2]! * b[index + 2]!
    sum3 += a[index + 3]! * b[index + 3]!
  }
  for (let index = quads; index < a.length; index++) sum0 += a[index]! * b[index]!
  return sum0 + sum1 + (sum2 + sum3)
}

/** Recall in percent, to two decimals: finer than one query of any set here. */
export function recallsOf(queries: readonly RankedQuery[]): Recalls {
  const [r1, r5, r10] = CUTOFFS.map((cutoff) => {
    const hits = queries.filter(({ rank }) => rank < cutoff).length
    return roundPercent((100 * hits) / queries.length)
  })
  return { r1: r1 ?? 0, r5: r5 ?? 0, r10: r10 ?? 0, n: queries.length }
}

/** What guessing reaches on the same queries and galleries. */
export function chanceOf(queries: readonly RankedQuery[]): Recalls {
  const [r1, r5, r10] = CUTOFFS.map((cutoff) => {
    const expected = queries.reduce((sum, { gallerySize }) => sum + Math.min(1, cutoff / gallerySize), 0)
    return roundPercent((100 * expected) / queries.length)
  })
  return { r1: r1 ?? 0, r5: r5 ?? 0, r10: r10 ?? 0, n: queries.length }
}

/** 97.5 % point of the normal distribution: both tails together leave 5 %. */
const Z_95 = 1.959964

/**
 * 95 % confidence interval of a share, both in percent (Wilson 1927, without continuity correction). It stays within 0 and 100 and
 * has a width at 0 hits too. Queries count as independent.
 */
export function wilsonInterval(percent: number, n: number): [number, number] {
  const share = percent / 100
  const z2 = Z_95 ** 2
  const centre = (share + z2 / (2 * n)) / (1 + z2 / n)
  const half = (Z_95 * Math.sqrt((share * (1 - share)) / n + z2 / (4 * n * n))) / (1 + z2 / n)
  return [Math.max(0, 100 * (centre - half)), Math.min(100, 100 * (centre + half))]
}

function roundPercent(percent: number): number {
  return Math.round(percent * 100) / 100
}

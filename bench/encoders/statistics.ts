// The arithmetic of the benches: medians, ratios round by round, a straight line through points. Numbers only.

export interface LinearFit {
  slope: number
  intercept: number
  /** Share of the variance that the line explains. */
  r2: number
}

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b)
  const upper = sorted.length >> 1
  const high = sorted[upper] ?? Number.NaN
  return sorted.length % 2 === 1 ? high : ((sorted[upper - 1] ?? Number.NaN) + high) / 2
}

/** Median of slower[i] / faster[i]: both were timed in the same round, so a slow moment of the machine cancels out. */
export function medianRatio(slower: readonly number[], faster: readonly number[]): number {
  if (slower.length !== faster.length) {
    throw new Error(`ratios: expected as many rounds of both, got ${slower.length} and ${faster.length}`)
  }
  return median(slower.map((value, round) => value / (faster[round] ?? Number.NaN)))
}

/** Least squares. */
export function fitLine(points: readonly (readonly [x: number, y: number])[]): LinearFit {
  const meanX = mean(points.map(([x]) => x))
  const meanY = mean(points.map(([, y]) => y))
  const varianceX = mean(points.map(([x]) => (x - meanX) ** 2))
  const slope = mean(points.map(([x, y]) => (x - meanX) * (y - meanY))) / varianceX
  const intercept = meanY - slope * meanX
  const residual = mean(points.map(([x, y]) => (y - intercept - slope * x) ** 2))
  return { slope, intercept, r2: 1 - residual / mean(points.map(([, y]) => (y - meanY) ** 2)) }
}

export function toThreeDecimals(value: number): number {
  return Math.round(value * 1000) / 1000
}

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length
}

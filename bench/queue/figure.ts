// One figure of the queue's bench, and percentiles of what was timed.

export interface QueueFigure {
  metric: string
  /** `p50Ms` and `p95Ms` where times were taken, else what the metric counts. */
  values: Record<string, number>
}

export function timesFigure(metric: string, ms: readonly number[]): QueueFigure {
  return { metric, values: { p50Ms: percentile(ms, 0.5), p95Ms: percentile(ms, 0.95), rounds: ms.length } }
}

function percentile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b)
  return sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? Number.NaN
}

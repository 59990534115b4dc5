// How long to wait before the next attempt: exponential, with jitter so that what failed together does not return together.

export interface Backoff {
  firstMs: number
  maxMs: number
}

/** 2 s, 4 s, 8 s … 5 min between the attempts of a job. */
export const JOB_BACKOFF: Backoff = { firstMs: 2_000, maxMs: 300_000 }

/** 5 s … 5 h between deliveries of a webhook, as Standard Webhooks advises. */
export const WEBHOOK_BACKOFF: Backoff = { firstMs: 5_000, maxMs: 5 * 3_600_000 }

/**
 * @param failures attempts that failed so far, at least 1
 * @param random from 0 to 1, exclusive
 * @returns milliseconds, between half of the step and the whole of it
 */
export function backoffMs(failures: number, { firstMs, maxMs }: Backoff, random: number): number {
  const stepMs = Math.min(maxMs, firstMs * 2 ** Math.max(0, failures - 1))
  return Math.round(stepMs * (0.5 + random / 2))
}

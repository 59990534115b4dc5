// How long the broker keeps things and how soon it misses them, from the deployment's variables.

import type { BrokerSettings } from '../platform/broker/store.ts'

export interface BrokerVars {
  API_KEYS?: string
  JOB_RETENTION_DAYS?: string
  INTERACTIVE_RETENTION_HOURS?: string
  IDEMPOTENCY_RETENTION_HOURS?: string
  JOB_RESEND_SECONDS?: string
  TRASH_DELAY_SECONDS?: string
}

const [SECOND_MS, HOUR_MS, DAY_MS] = [1_000, 3_600_000, 86_400_000]
const IDEMPOTENCY_LOCK_MS = 60_000
/** More than the longest held request, and than a few heartbeats. */
const WORKER_GONE_MS = 60_000

export function readBrokerSettings(vars: BrokerVars): BrokerSettings {
  return {
    jobRetentionMs: positive(vars.JOB_RETENTION_DAYS, 30) * DAY_MS,
    interactiveRetentionMs: positive(vars.INTERACTIVE_RETENTION_HOURS, 24) * HOUR_MS,
    idempotencyRetentionMs: positive(vars.IDEMPOTENCY_RETENTION_HOURS, 24) * HOUR_MS,
    idempotencyLockMs: IDEMPOTENCY_LOCK_MS,
    resendAfterMs: positive(vars.JOB_RESEND_SECONDS, 30) * SECOND_MS,
    workerGoneMs: WORKER_GONE_MS,
    // Longer than presigned URLs live.
    trashDelayMs: positive(vars.TRASH_DELAY_SECONDS, 3600) * SECOND_MS,
    allowLoopbackWebhooks: (vars.API_KEYS ?? '').trim() === '' || vars.API_KEYS?.trim() === '[]',
  }
}

/** A setting that cannot be read must not lose jobs: the default stands in for it. */
function positive(text: string | undefined, otherwise: number): number {
  const value = Number(text)
  return Number.isFinite(value) && value > 0 ? value : otherwise
}

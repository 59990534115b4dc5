// Which end of which job is told to webhook endpoints under which name, in OpenAI's words where it has some.

import type { JobKind } from './kinds.ts'
import type { JobState } from './states.ts'

export const WEBHOOK_EVENT_TYPES = [
  'fine_tuning.job.succeeded',
  'fine_tuning.job.failed',
  'fine_tuning.job.cancelled',
  'batch.completed',
  'batch.failed',
  'batch.expired',
  'batch.cancelled',
  'job.succeeded',
  'job.failed',
  'job.cancelled',
] as const
export type WebhookEventType = (typeof WEBHOOK_EVENT_TYPES)[number]

/** Undefined for a state that is no end. A job that is dead has failed, to those who wait for it. */
export function webhookEventOf(kind: JobKind, state: JobState): WebhookEventType | undefined {
  switch (state) {
    case 'succeeded':
      if (kind === 'batch') return 'batch.completed'
      return kind === 'fine_tuning' ? 'fine_tuning.job.succeeded' : 'job.succeeded'
    case 'cancelled':
      if (kind === 'batch') return 'batch.cancelled'
      return kind === 'fine_tuning' ? 'fine_tuning.job.cancelled' : 'job.cancelled'
    case 'expired':
      if (kind === 'batch') return 'batch.expired'
      return kind === 'fine_tuning' ? 'fine_tuning.job.failed' : 'job.failed'
    case 'failed':
    case 'dead':
      if (kind === 'batch') return 'batch.failed'
      return kind === 'fine_tuning' ? 'fine_tuning.job.failed' : 'job.failed'
    case 'stored':
    case 'queued':
    case 'running':
    case 'paused':
      return undefined
  }
}

// What becomes of a job whose lease ends without a result: another attempt, or one of its ends. A pure decision.

import type { JobMove } from './states.ts'
import type { FailRequest } from './worker-protocol.ts'

/** `expired`: the worker was not heard of for as long as the lease lasts. */
export type LeaseEnd = FailRequest['outcome'] | 'expired'

export interface LeaseEndFacts {
  /** Of the lease that ends; the first is 1. */
  attempt: number
  maxAttempts: number
  isCancelRequested: boolean
  isPauseRequested: boolean
  /** Whether the job may run any longer at all. */
  hasRuntimeLeft: boolean
}

export interface AfterLease {
  move: Extract<JobMove, 'release' | 'exhaust' | 'fail' | 'cancel' | 'pause'>
  /** Whether the attempt is used up. */
  countsAttempt: boolean
}

export function afterLease(end: LeaseEnd, facts: LeaseEndFacts): AfterLease {
  // Its owner wants no more of it, however this attempt went.
  if (facts.isCancelRequested) return { move: 'cancel', countsAttempt: true }
  if (end === 'failed' || !facts.hasRuntimeLeft) return { move: 'fail', countsAttempt: true }
  const countsAttempt = isAttemptUsedUp(end)
  if (countsAttempt && facts.attempt >= facts.maxAttempts) return { move: 'exhaust', countsAttempt }
  return { move: facts.isPauseRequested ? 'pause' : 'release', countsAttempt }
}

function isAttemptUsedUp(end: LeaseEnd): boolean {
  switch (end) {
    case 'handed_back':
      return false
    case 'paused':
      // Also when the owner has changed their mind meanwhile: the worker did as it was told.
      return false
    case 'cancelled':
      // Nobody asked for it, so something is wrong with that worker or that job.
      return true
    case 'retry':
    case 'failed':
    case 'expired':
      return true
  }
}

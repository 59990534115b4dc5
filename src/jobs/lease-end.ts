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
  /** Whether this lease left a checkpoint beyond the one that it began with. */
  hasAdvanced: boolean
}

export interface AfterLease {
  move: Extract<JobMove, 'release' | 'exhaust' | 'fail' | 'cancel' | 'pause'>
  /** Attempts in a row that came no further, this one included where it counts. */
  attempts: number
  /** Whether the next attempt waits a while. */
  backsOff: boolean
}

export function afterLease(end: LeaseEnd, facts: LeaseEndFacts): AfterLease {
  const isUsedUp = isAttemptUsedUp(end)
  // Days of training outlive any number of machines, as long as each brings them further.
  const attempts = facts.hasAdvanced ? 0 : isUsedUp ? facts.attempt : facts.attempt - 1
  const moved = (move: AfterLease['move']): AfterLease => ({ move, attempts, backsOff: isUsedUp && move === 'release' })
  // Its owner wants no more of it, however this attempt went.
  if (facts.isCancelRequested) return moved('cancel')
  if (end === 'failed' || !facts.hasRuntimeLeft) return moved('fail')
  if (attempts >= facts.maxAttempts) return moved('exhaust')
  return moved(facts.isPauseRequested ? 'pause' : 'release')
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

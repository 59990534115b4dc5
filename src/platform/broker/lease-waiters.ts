// Workers that wait for work. A job that becomes ready wakes one worker that can do it, one with its model loaded first:
// fifty waiting workers do not all look for the one job.

import { canDo, type JobNeeds } from '../../jobs/capability.ts'
import type { JobKind } from '../../jobs/kinds.ts'
import type { WorkerDescription } from '../../jobs/worker-protocol.ts'

export interface ReadyJob extends JobNeeds {
  modelId: string
}

export interface LeaseWaiters {
  /** Fulfilled when a job is offered, or after `ms`. */
  wait(worker: WorkerDescription, allowed: readonly JobKind[] | null, ms: number): Promise<void>
  offer(job: ReadyJob): void
  readonly size: number
}

interface Waiter {
  worker: WorkerDescription
  allowed: readonly JobKind[] | null
  wake: () => void
}

/** More than this many are answered at once, as if their time were over. */
const MAX_WAITERS = 1_000

export function createLeaseWaiters(): LeaseWaiters {
  // In the order of arrival.
  const waiting = new Set<Waiter>()
  return {
    wait(worker, allowed, ms) {
      if (waiting.size >= MAX_WAITERS || ms <= 0) return Promise.resolve()
      return new Promise((settle) => {
        const waiter: Waiter = {
          worker,
          allowed,
          wake() {
            clearTimeout(timer)
            waiting.delete(waiter)
            settle()
          },
        }
        const timer = setTimeout(waiter.wake, ms)
        waiting.add(waiter)
      })
    },
    offer(job) {
      let able: Waiter | undefined
      for (const waiter of waiting) {
        if (!canDo(waiter.worker, waiter.allowed, job)) continue
        able ??= waiter
        if (waiter.worker.models.some(({ id, is_loaded }) => is_loaded && id === job.modelId)) {
          able = waiter
          break
        }
      }
      able?.wake()
    },
    get size() {
      return waiting.size
    },
  }
}

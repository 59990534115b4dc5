// What time does to jobs: leases that were not renewed, run time that is used up, deadlines that have passed. Called by the
// alarm, which may come twice or late: all that is not due is left alone.

import type { JobError } from '../../jobs/worker-protocol.ts'
import { endJob } from './job-end.ts'
import type { JobRow } from './job-rows.ts'
import { endLease } from './lease-rows.ts'
import { firstRow, rows, type BrokerStore } from './store.ts'

/** Jobs handled in one go; the next alarm takes the rest. */
const MAX_TOGETHER = 500

export function settleDueJobs(store: BrokerStore): void {
  const now = store.now()
  const due = rows<JobRow>(
    store,
    `SELECT * FROM jobs WHERE due_ms <= ? AND (state <> 'stored' OR deadline_ms <= ?) ORDER BY due_ms LIMIT ?`,
    now,
    now,
    MAX_TOGETHER,
  )
  for (const row of due) settle(store, row, now)
}

/** When the next job is due, in the past perhaps. */
export function nextDueMs(store: BrokerStore): number | null {
  return (
    firstRow<{ next: number | null }>(store, 'SELECT min(due_ms) next FROM jobs WHERE due_ms IS NOT NULL')?.next ?? null
  )
}

function settle(store: BrokerStore, row: JobRow, now: number): void {
  const isCancelRequested = row.is_cancel_requested === 1
  if (row.deadline_ms !== null && row.deadline_ms <= now && !isCancelRequested) {
    endJob(store, row.id, {
      move: 'expire',
      message: 'The job’s deadline has passed.',
      error: refusal('deadline_exceeded', 'The job had not ended when its deadline came.'),
    })
    return
  }
  if (row.state !== 'running') return
  // Its end was wanted, so nothing went wrong.
  const error = isCancelRequested
    ? null
    : refusal('lease_expired', `Worker ${row.worker ?? ''} was no longer heard of.`)
  endLease(store, row, 'expired', error)
}

function refusal(code: string, message: string): JobError {
  return { code, message, param: null, line: null }
}

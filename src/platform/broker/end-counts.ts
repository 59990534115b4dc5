// How jobs ended, counted since the beginning: what the rows of old jobs can no longer tell.

import type { JobRow } from './job-rows.ts'
import { run, type BrokerStore } from './store.ts'

/** Upper bounds in seconds, from a no-op to a week of training. */
const DURATION_BUCKETS = [0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15, 60, 300, 1800, 7200, 21_600, 86_400, 604_800]

export function countEnd(store: BrokerStore, { kind, state, attempt, run_ms, wait_ms }: JobRow): void {
  run(
    store,
    `INSERT INTO ended_counts (kind, state, jobs, attempts, run_ms, wait_ms) VALUES (?, ?, 1, ?, ?, ?)
     ON CONFLICT (kind, state) DO UPDATE SET
       jobs = jobs + 1, attempts = attempts + excluded.attempts,
       run_ms = run_ms + excluded.run_ms, wait_ms = wait_ms + excluded.wait_ms`,
    kind,
    state,
    attempt,
    run_ms,
    wait_ms,
  )
  // The smallest bucket alone; reading adds them up.
  const le = DURATION_BUCKETS.find((seconds) => run_ms / 1000 <= seconds)
  if (le === undefined) return
  run(
    store,
    `INSERT INTO duration_counts (kind, le, count) VALUES (?, ?, 1)
     ON CONFLICT (kind, le) DO UPDATE SET count = count + 1`,
    kind,
    le,
  )
}

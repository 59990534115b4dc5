// Ends a job: the one place that writes a terminal state, with everything that belongs to it in the same transaction.

import type { JobError } from '../../jobs/worker-protocol.ts'
import { inputKey, outputPrefix } from '../../jobs/object-keys.ts'
import { sourcesOf, targetOf, type JobMove } from '../../jobs/states.ts'
import { dropCheckpointObjects } from './checkpoint-rows.ts'
import { countEnd } from './end-counts.ts'
import { addStateEvent } from './event-rows.ts'
import { deleteReads, type JobRow } from './job-rows.ts'
import { firstRow, quoted, readJson, type BrokerStore } from './store.ts'
import { discard } from './trash-rows.ts'
import { tellEnd } from './webhook-rows.ts'

export type EndMove = Extract<JobMove, 'complete' | 'exhaust' | 'fail' | 'cancel' | 'expire'>

export interface JobEnd {
  move: EndMove
  message: string
  /** Kept as it is when absent. */
  error?: JobError | null
  /** Result, outputs and counts, with `complete`. */
  result?: { json: string | null; outputs: string; tokens: number; images: number }
  /** Only this lease may end the job so. */
  lease?: { worker: string; fence: number }
}

/** @returns the job as it is now, or undefined where the move is not legal any more or the lease is not the live one */
export function endJob(store: BrokerStore, id: string, end: JobEnd): JobRow | undefined {
  const { move, message, error, result, lease } = end
  const now = store.now()
  const row = firstRow<JobRow>(
    store,
    `UPDATE jobs SET
       state = ?, ended_ms = ?, lease_until_ms = NULL, run_until_ms = NULL,
       run_ms = run_ms + CASE state WHEN 'running' THEN ? - started_ms ELSE 0 END,
       wait_ms = wait_ms + CASE WHEN state IN ('stored', 'queued') THEN ? - ready_ms ELSE 0 END,
       error = CASE WHEN ? THEN ? ELSE error END,
       input = CASE WHEN ? THEN NULL ELSE input END, result = ?, outputs = ?, tokens = tokens + ?, images = images + ?
     WHERE id = ? AND state IN (${quoted(sourcesOf(move))}) ${lease === undefined ? '' : 'AND worker = ? AND fence = ?'}
     RETURNING *`,
    targetOf(move),
    now,
    now,
    now,
    error === undefined ? 0 : 1,
    error === undefined || error === null ? null : JSON.stringify(error),
    // Nobody asks for it again: what succeeded is not tried again, and inputs are most of what a row weighs.
    move === 'complete' ? 1 : 0,
    result?.json ?? null,
    result?.outputs ?? '[]',
    result?.tokens ?? 0,
    result?.images ?? 0,
    id,
    ...(lease === undefined ? [] : [lease.worker, lease.fence]),
  )
  if (row === undefined) return undefined
  deleteReads(store, id)
  if (move === 'complete') dropWhatIsNoResult(store, row)
  countEnd(store, row)
  tellEnd(store, row)
  addStateEvent(store, id, row.state, message)
  return row
}

/** What lost leases wrote, checkpoints, its own input: a job that succeeded is not tried again. */
function dropWhatIsNoResult(store: BrokerStore, { id, fence, outputs, input_object }: JobRow): void {
  const kept = new Set(readJson<{ key: string }[]>(outputs).map(({ key }) => key))
  dropCheckpointObjects(store, id, kept)
  const lost = Array.from({ length: fence - 1 }, (_, index) => outputPrefix(id, index + 1))
  discard(store, input_object === null ? lost : [inputKey(id), ...lost])
}

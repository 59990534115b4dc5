// The owner's moves: cancel, pause, resume, retry; and what deadlines do. A running job is only asked: its worker hears of
// it with the next heartbeat.

import { JobStateError } from '../../jobs/errors.ts'
import { isTerminal, sourcesOf, targetOf } from '../../jobs/states.ts'
import { addStateEvent } from './event-rows.ts'
import { endJob } from './job-end.ts'
import { jobOf, restoreReads, WAITING_MESSAGE, type JobRow } from './job-rows.ts'
import { quoted, run, type BrokerStore } from './store.ts'

/** @throws ResourceNotFoundError, JobStateError when it has ended */
export function cancelJob(store: BrokerStore, project: string, id: string): void {
  const row = jobOf(store, project, id)
  if (isTerminal(row.state)) throw conflict('cancelled', row)
  if (row.state !== 'running') {
    endJob(store, id, { move: 'cancel', message: 'The job was cancelled.' })
    return
  }
  if (row.is_cancel_requested === 1) return
  run(
    store,
    `UPDATE jobs SET is_cancel_requested = 1, cancel_requested_ms = ? WHERE id = ? AND state = 'running'`,
    store.now(),
    id,
  )
  addStateEvent(store, id, 'running', 'Its worker is asked to cancel the job.')
}

/** @throws ResourceNotFoundError, JobStateError when it has ended or is to be cancelled */
export function pauseJob(store: BrokerStore, project: string, id: string): void {
  const row = jobOf(store, project, id)
  if (isTerminal(row.state) || row.is_cancel_requested === 1) throw conflict('paused', row)
  if (row.state === 'paused') return
  if (row.state === 'running') {
    if (row.is_pause_requested === 1) return
    run(store, `UPDATE jobs SET is_pause_requested = 1 WHERE id = ? AND state = 'running'`, id)
    addStateEvent(store, id, 'running', 'Its worker is asked to pause the job.')
    return
  }
  run(
    store,
    `UPDATE jobs SET state = ?, wait_ms = wait_ms + ? - ready_ms WHERE id = ? AND state IN (${quoted(sourcesOf('pause'))})`,
    targetOf('pause'),
    store.now(),
    id,
  )
  addStateEvent(store, id, 'paused', 'The job is paused.')
}

/** @throws ResourceNotFoundError, JobStateError when it is neither paused nor about to be */
export function resumeJob(store: BrokerStore, project: string, id: string): void {
  const row = jobOf(store, project, id)
  if (row.state === 'running' && row.is_pause_requested === 1) {
    run(store, 'UPDATE jobs SET is_pause_requested = 0 WHERE id = ?', id)
    addStateEvent(store, id, 'running', 'The job is not to be paused after all.')
    return
  }
  if (row.state !== 'paused') throw conflict('resumed', row)
  run(
    store,
    `UPDATE jobs SET state = ?, ready_ms = ?, not_before_ms = 0, is_pause_requested = 0
     WHERE id = ? AND state IN (${quoted(sourcesOf('resume'))})`,
    targetOf('resume'),
    store.now(),
    id,
  )
  addStateEvent(store, id, 'queued', WAITING_MESSAGE)
  store.offer(id)
}

/** Begins anew, from the last checkpoint where there is one. @throws ResourceNotFoundError, JobStateError */
export function retryJob(store: BrokerStore, project: string, id: string): void {
  const row = jobOf(store, project, id)
  if (!sourcesOf('retry').includes(row.state)) throw conflict('tried again', row)
  restoreReads(store, row)
  const now = store.now()
  run(
    store,
    `UPDATE jobs SET
       state = ?, ready_ms = ?, not_before_ms = 0, ended_ms = NULL, attempt = 0, run_ms = 0, wait_ms = 0, error = NULL,
       is_cancel_requested = 0, cancel_requested_ms = NULL, is_pause_requested = 0, progress = NULL,
       deadline_ms = ? + window_ms
     WHERE id = ? AND state IN (${quoted(sourcesOf('retry'))})`,
    targetOf('retry'),
    now,
    now,
    id,
  )
  addStateEvent(store, id, 'queued', 'The job is tried again; it waits for a worker.')
  store.offer(id)
}

function conflict(participle: string, { state, is_cancel_requested }: JobRow): JobStateError {
  const what = is_cancel_requested === 1 && !isTerminal(state) ? 'about to be cancelled' : state
  return new JobStateError(`the job is ${what} and cannot be ${participle}`)
}

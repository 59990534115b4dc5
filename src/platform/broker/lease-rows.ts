// Leases: how a worker gets jobs, keeps them and loses them. Every write that a lease allows names worker and fence in its
// own statement, so one that comes too late changes nothing.

import { kindsOf, needsMetBy } from '../../jobs/capability.ts'
import { backoffMs, JOB_BACKOFF } from '../../jobs/backoff.ts'
import type { StoredObject } from '../../jobs/job.ts'
import { isInteractive, type JobKind } from '../../jobs/kinds.ts'
import type { Holder, WorkerToken } from '../../jobs/ports.ts'
import { afterLease, type LeaseEnd } from '../../jobs/lease-end.ts'
import { sourcesOf, targetOf, type JobState } from '../../jobs/states.ts'
import type { JobError, JobObject, Lease, LeaseRequest } from '../../jobs/worker-protocol.ts'
import { hasAdvanced, resumeCheckpoint } from './checkpoint-rows.ts'
import { addStateEvent } from './event-rows.ts'
import { endJob } from './job-end.ts'
import { modelOf, objectsOf, type JobRow } from './job-rows.ts'
import { firstRow, listParameter, quoted, readJson, rows, type BrokerStore } from './store.ts'
import { addUsage } from './usage-rows.ts'

/** Jobs looked at when one is chosen; among them, those whose model is loaded go before the others. */
const CANDIDATES = 64
/** As if jobs whose model is loaded were older by this: they go first, and never for long at others' expense. */
const LOADED_HEAD_START_MS = 2_000

/**
 * The worker that had the job last was not heard of again. Perhaps the job is what ended it, so it runs with no other
 * interactive job beside it until it has ended or has failed by itself: else it would use up their attempts with its own.
 */
const SUSPICION = `coalesce(error ->> '$.code', '') = 'lease_expired'`
const IS_SUSPECT = `(${SUSPICION}) is_suspect`

const RUNTIME_ERROR = { code: 'max_runtime_exceeded', message: 'The job ran for as long as it may.' }

/**
 * Gives the worker up to `max_jobs` interactive jobs, one that is suspect, or one that takes long: whoever holds several of
 * those would keep all but one from other workers.
 */
export function takeLeases(store: BrokerStore, request: LeaseRequest, token: WorkerToken): Lease[] {
  const chosen = chooseJobs(store, request, token.kinds)
  if (chosen.length === 0) return []
  const now = store.now()
  const leased = rows<JobRow>(
    store,
    `UPDATE jobs SET
       state = ?, worker = ?, token = ?, fence = fence + 1, attempt = attempt + 1, started_ms = ?, lease_until_ms = ?,
       lease_ms = ?,
       run_until_ms = ? + max_runtime_ms - run_ms, wait_ms = wait_ms + ? - ready_ms,
       heartbeat_sequence = 0, lease_gpu_seconds = 0, is_pause_requested = 0
     WHERE state IN (${quoted(sourcesOf('lease'))}) AND id IN (SELECT value FROM json_each(?))
     RETURNING *`,
    targetOf('lease'),
    request.worker.id,
    token.id,
    now,
    now + request.lease_ms,
    request.lease_ms,
    now,
    now,
    listParameter(chosen),
  )
  for (const { id, attempt, worker } of leased) {
    addStateEvent(store, id, 'running', `Attempt ${attempt} runs on worker ${worker ?? ''}.`)
  }
  // UPDATE returns rows in no order; the worker gets the oldest first.
  return leased.toSorted((a, b) => a.ordinal - b.ordinal).map((row) => toLease(store, row, request.lease_ms))
}

type Candidate = { id: string; kind: JobKind; is_suspect: number }

function chooseJobs(
  store: BrokerStore,
  { worker, max_jobs }: LeaseRequest,
  allowed: readonly JobKind[] | null,
): string[] {
  const held = heldInteractive(store, worker.id)
  if (held.some((job) => job.is_suspect === 1)) return []
  const loaded = worker.models.filter((model) => model.is_loaded).map(({ id }) => id)
  const candidates = rows<Candidate>(
    store,
    `SELECT id, kind, is_suspect FROM (
       SELECT id, kind, priority, ordinal, created_ms, model_id, ${IS_SUSPECT} FROM jobs
       WHERE state = 'queued' AND not_before_ms <= ? AND min_memory_mib <= ?
         AND kind IN (SELECT value FROM json_each(?)) AND need IN (SELECT value FROM json_each(?))
       ORDER BY priority, ordinal LIMIT ?
     )
     ORDER BY priority,
       created_ms - CASE WHEN model_id IN (SELECT value FROM json_each(?)) THEN ? ELSE 0 END, ordinal
     LIMIT ?`,
    store.now(),
    worker.memory_mib,
    listParameter(kindsOf(worker, allowed)),
    listParameter(needsMetBy(worker)),
    Math.max(CANDIDATES, max_jobs),
    listParameter(loaded),
    LOADED_HEAD_START_MS,
    max_jobs,
  )
  const [first] = candidates
  if (first === undefined) return []
  if (!isInteractive(first.kind)) return [first.id]
  if (first.is_suspect === 1) return held.length === 0 ? [first.id] : []
  return candidates.filter(({ kind, is_suspect }) => isInteractive(kind) && is_suspect === 0).map(({ id }) => id)
}

/** Whether the worker gets nothing for now that is not a matter of its abilities: a suspect runs alone, or is to. */
export function isKeptAlone(store: BrokerStore, worker: string): boolean {
  const held = heldInteractive(store, worker)
  if (held.length === 0) return false
  if (held.some((job) => job.is_suspect === 1)) return true
  return (
    firstRow(store, `SELECT id FROM jobs WHERE state = 'queued' AND priority = 0 AND ${SUSPICION} LIMIT 1`) !==
    undefined
  )
}

function heldInteractive(store: BrokerStore, worker: string): { is_suspect: number }[] {
  return rows(store, `SELECT ${IS_SUSPECT} FROM jobs WHERE state = 'running' AND worker = ? AND priority = 0`, worker)
}

function toLease(store: BrokerStore, row: JobRow, leaseMs: number): Lease {
  const model = modelOf(row)
  return {
    job: row.id,
    kind: row.kind,
    fence: row.fence,
    attempt: row.attempt,
    lease_ms: leaseMs,
    max_runtime_ms: Math.max(0, row.max_runtime_ms - row.run_ms),
    model: { id: model.id, base: model.base, objects: model.objects.map(withoutKey) },
    input:
      row.input === null ? { object: withoutKey(readJson(row.input_object ?? '')) } : { inline: readJson(row.input) },
    objects: readJson<StoredObject[]>(row.objects).map(withoutKey),
    resume: resumeCheckpoint(store, row.id, row.fence)?.checkpoint ?? null,
  }
}

/** After the clock fell back: no lease lasts longer from now on than its worker asked for. */
export function boundLeases(store: BrokerStore): void {
  const now = store.now()
  store.sql.exec(
    `UPDATE jobs SET lease_until_ms = ? + lease_ms WHERE state = 'running' AND lease_until_ms > ? + lease_ms`,
    now,
    now,
  )
}

/** The job if this lease of it is the live one. */
export function heldJob(store: BrokerStore, { worker, tokenId, job, fence }: Holder): JobRow | undefined {
  return firstRow<JobRow>(
    store,
    `SELECT * FROM jobs WHERE id = ? AND worker = ? AND token = ? AND fence = ? AND state = 'running'`,
    job,
    worker,
    tokenId,
    fence,
  )
}

/** Everything that the holder may read, by key. */
export function readsOf(store: BrokerStore, row: JobRow): StoredObject[] {
  return [...objectsOf(row), ...(resumeCheckpoint(store, row.id, row.fence)?.objects ?? [])]
}

/** Counts the GPU seconds that a lease reports since it last did, so that those of a killed worker count too. */
export function countGpuSeconds(store: BrokerStore, { id, project, fence }: JobRow, reported: number): void {
  const before = firstRow<{ seconds: number }>(
    store,
    'SELECT lease_gpu_seconds seconds FROM jobs WHERE id = ? AND fence = ?',
    id,
    fence,
  )
  const more = reported - (before?.seconds ?? reported)
  if (more <= 0) return
  store.sql.exec(
    'UPDATE jobs SET lease_gpu_seconds = ?, gpu_seconds = gpu_seconds + ? WHERE id = ? AND fence = ?',
    reported,
    more,
    id,
    fence,
  )
  addUsage(store, project, { gpuSeconds: more })
}

/**
 * Ends a live lease without a result.
 * @param error what the worker or the alarm says of it; null leaves the job's last one
 * @returns the state that follows, or undefined when the lease was not the live one
 */
export function endLease(store: BrokerStore, row: JobRow, end: LeaseEnd, error: JobError | null): JobState | undefined {
  const now = store.now()
  const runMs = row.run_ms + now - (row.started_ms ?? now)
  const hasRuntimeLeft = runMs < row.max_runtime_ms
  const { move, attempts, backsOff } = afterLease(end, {
    attempt: row.attempt,
    maxAttempts: row.max_attempts,
    isCancelRequested: row.is_cancel_requested === 1,
    isPauseRequested: row.is_pause_requested === 1,
    hasRuntimeLeft,
    hasAdvanced: hasAdvanced(store, row.id, row.fence),
  })
  if (move !== 'release' && move !== 'pause') {
    const lease = { worker: row.worker ?? '', fence: row.fence }
    const isOutOfTime = move === 'fail' && end !== 'failed'
    const kept = isOutOfTime ? { ...RUNTIME_ERROR, param: null, line: null } : error
    const message = move === 'cancel' ? 'The job was cancelled.' : messageOf(move, kept, row)
    return endJob(store, row.id, { move, message, lease, ...(kept === null ? {} : { error: kept }) })?.state
  }
  const notBeforeMs = backsOff ? now + backoffMs(attempts, JOB_BACKOFF, store.random()) : now
  const moved = firstRow<{ state: JobState }>(
    store,
    `UPDATE jobs SET
       state = ?, attempt = ?, run_ms = ?, ready_ms = ?, not_before_ms = ?, error = coalesce(?, error),
       is_pause_requested = 0, lease_until_ms = NULL, run_until_ms = NULL
     WHERE id = ? AND worker = ? AND fence = ? AND state IN (${quoted(sourcesOf(move))})
     RETURNING state`,
    targetOf(move),
    attempts,
    runMs,
    now,
    notBeforeMs,
    error === null ? null : JSON.stringify(error),
    row.id,
    row.worker,
    row.fence,
  )
  if (moved === undefined) return undefined
  const message =
    move === 'pause'
      ? 'The job is paused.'
      : `The job waits for a worker again${error === null ? '' : `: ${error.message}`}`
  addStateEvent(store, row.id, moved.state, message)
  if (move === 'release') store.offer(row.id)
  return moved.state
}

function messageOf(move: 'exhaust' | 'fail', error: JobError | null, { attempt }: JobRow): string {
  const what = error === null ? 'no reason was given' : error.message
  return move === 'fail' ? `The job failed: ${what}` : `The job failed for the last of ${attempt} times: ${what}`
}

function withoutKey({ name, bytes, sha256 }: StoredObject): JobObject {
  return { name, bytes, sha256 }
}

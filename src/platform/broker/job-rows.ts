// Jobs as rows: how they are put in and how they are read, alone or in pages. What moves them is elsewhere.

import { InvalidInputError, ModelNotFoundError } from '../../errors.ts'
import { canDo, needOf } from '../../jobs/capability.ts'
import { JobStateError, ResourceNotFoundError } from '../../jobs/errors.ts'
import type { JobRecord, NewJob, StoredObject } from '../../jobs/job.ts'
import { isInteractive, maxAttemptsOf, priorityOf, type JobKind } from '../../jobs/kinds.ts'
import type { Page, Paged } from '../../jobs/ports.ts'
import type { JobState } from '../../jobs/states.ts'
import type { ModelRef } from '../../jobs/worker-protocol.ts'
import { addStateEvent } from './event-rows.ts'
import type { LeaseWaiters } from './lease-waiters.ts'
import { firstRow, listParameter, readJson, rows, run, type BrokerStore } from './store.ts'
import { discard, discardedAmong, takeBack } from './trash-rows.ts'
import { findLiveToken, isConnected, type KnownWorkers } from './worker-rows.ts'

export type JobRow = {
  ordinal: number
  id: string
  project: string
  kind: JobKind
  state: JobState
  priority: number
  model: string
  model_id: string
  need: string
  input: string | null
  input_object: string | null
  objects: string
  request: string
  min_memory_mib: number
  max_runtime_ms: number
  max_attempts: number
  deadline_ms: number | null
  created_ms: number
  ready_ms: number
  not_before_ms: number
  started_ms: number | null
  ended_ms: number | null
  fence: number
  attempt: number
  worker: string | null
  token: string | null
  lease_until_ms: number | null
  run_until_ms: number | null
  heartbeat_sequence: number
  lease_gpu_seconds: number
  run_ms: number
  wait_ms: number
  is_cancel_requested: number
  cancel_requested_ms: number | null
  is_pause_requested: number
  progress: string | null
  error: string | null
  result: string | null
  outputs: string
  gpu_seconds: number
  tokens: number
  images: number
}

/** The worker's model, or a fine-tuned one with where its files lie. */
export interface StoredModelRef extends ModelRef {
  objects: StoredObject[]
}

/** Whoever is further back learns no more than that. */
const MAX_QUEUE_POSITION = 1000

export const WAITING_MESSAGE = 'The job waits for a worker.'

/** @throws ResourceNotFoundError when something it reads is being deleted */
export function insertJob(store: BrokerStore, job: NewJob): void {
  const now = store.now()
  const state: JobState = isInteractive(job.kind) ? 'queued' : 'stored'
  const model = withKeys(store, job)
  const input = 'object' in job.input ? [job.input.object] : []
  const readKeys = [...input, ...job.objects, ...model.objects].map(({ key }) => key)
  // Its own input was announced before it was written.
  takeBack(
    store,
    input.map(({ key }) => key),
  )
  if (discardedAmong(store, readKeys) !== undefined)
    throw new ResourceNotFoundError('a file or model of the job was deleted meanwhile')
  const columns = {
    id: job.id,
    project: job.project,
    kind: job.kind,
    state,
    priority: priorityOf(job.kind),
    model: JSON.stringify(model),
    model_id: job.model.id,
    need: needOf(job.model.base, job.head),
    input: 'inline' in job.input ? job.input.inline : null,
    input_object: 'object' in job.input ? JSON.stringify(job.input.object) : null,
    objects: JSON.stringify(job.objects),
    request: JSON.stringify(job.request),
    min_memory_mib: job.minMemoryMib,
    max_runtime_ms: Math.round(job.maxRuntimeSeconds * 1000),
    max_attempts: maxAttemptsOf(job.kind),
    deadline_ms: job.deadlineMs,
    window_ms: job.deadlineMs === null ? null : job.deadlineMs - now,
    created_ms: now,
    ready_ms: now,
    resend_ms: state === 'stored' ? now + store.settings.resendAfterMs : null,
  }
  const names = Object.keys(columns)
  run(
    store,
    `INSERT INTO jobs (${names.join(', ')}) VALUES (${names.map(() => '?').join(', ')})`,
    ...Object.values(columns),
  )
  insertReads(store, job.id, readKeys)
  addStateEvent(store, job.id, state, state === 'queued' ? WAITING_MESSAGE : 'The job is stored.')
  if (state === 'queued') store.offer(job.id)
}

/** Tells a waiting worker that can do it, when its time has come. */
export function offerOf(store: BrokerStore, idle: LeaseWaiters, id: string): void {
  const row = firstRow<Pick<JobRow, 'kind' | 'need' | 'model_id' | 'min_memory_mib' | 'not_before_ms'>>(
    store,
    `SELECT kind, need, model_id, min_memory_mib, not_before_ms FROM jobs WHERE id = ? AND state = 'queued'`,
    id,
  )
  if (row === undefined) return
  const waitMs = row.not_before_ms - store.now()
  if (waitMs > 0) {
    setTimeout(() => offerOf(store, idle, id), waitMs)
    return
  }
  idle.offer({ kind: row.kind, need: row.need, modelId: row.model_id, minMemoryMib: row.min_memory_mib })
}

/** The Queue delivered them. */
export function markQueued(store: BrokerStore, ids: readonly string[]): void {
  const now = store.now()
  const moved = rows<{ id: string }>(
    store,
    `UPDATE jobs SET state = 'queued', ready_ms = ? WHERE state = 'stored' AND id IN (SELECT value FROM json_each(?))
     RETURNING id`,
    now,
    listParameter(ids),
  )
  for (const { id } of moved) {
    addStateEvent(store, id, 'queued', WAITING_MESSAGE)
    store.offer(id)
  }
}

/** Ids that are stored for too long, each told once a period. */
export function takeUnqueued(store: BrokerStore): string[] {
  const now = store.now()
  return rows<{ id: string }>(
    store,
    `UPDATE jobs SET resend_ms = ? WHERE state = 'stored' AND resend_ms <= ? RETURNING id`,
    now + store.settings.resendAfterMs,
    now,
  ).map(({ id }) => id)
}

/** @throws ResourceNotFoundError */
export function jobOf(store: BrokerStore, project: string, id: string): JobRow {
  const row = firstRow<JobRow>(store, 'SELECT * FROM jobs WHERE id = ? AND project = ?', id, project)
  if (row === undefined) throw new ResourceNotFoundError('no such job')
  return row
}

/** @throws InvalidInputError when `after` is no job of the project */
export function pageOfJobs(
  store: BrokerStore,
  project: string,
  { kinds, after, limit, order }: { kinds: readonly JobKind[] | undefined } & Page,
): Paged<JobRow> {
  let start = order === 'asc' ? 0 : Number.MAX_SAFE_INTEGER
  if (after !== undefined) {
    const row = firstRow<{ ordinal: number }>(
      store,
      'SELECT ordinal FROM jobs WHERE id = ? AND project = ?',
      after,
      project,
    )
    if (row === undefined) throw new InvalidInputError('after: expected the id of a job', { param: 'after' })
    start = row.ordinal
  }
  const kindFilter = kinds === undefined ? '' : 'AND kind IN (SELECT value FROM json_each(?))'
  const found = rows<JobRow>(
    store,
    `SELECT * FROM jobs WHERE project = ? AND ordinal ${order === 'asc' ? '>' : '<'} ? ${kindFilter}
     ORDER BY ordinal ${order === 'asc' ? 'ASC' : 'DESC'} LIMIT ?`,
    project,
    start,
    ...(kinds === undefined ? [] : [listParameter(kinds)]),
    limit + 1,
  )
  return { data: found.slice(0, limit), hasMore: found.length > limit }
}

/** Without its place in the queue, which is counted for one job at a time (see queuePosition). */
export function toRecord(store: BrokerStore, row: JobRow, known: KnownWorkers): JobRecord {
  const isWaiting = row.state === 'stored' || row.state === 'queued'
  return {
    id: row.id,
    project: row.project,
    kind: row.kind,
    state: row.state,
    modelId: row.model_id,
    request: readJson(row.request),
    createdAtMs: row.created_ms,
    startedAtMs: row.started_ms,
    endedAtMs: row.ended_ms,
    attempt: row.attempt,
    maxAttempts: row.max_attempts,
    maxRuntimeSeconds: row.max_runtime_ms / 1000,
    deadlineMs: row.deadline_ms,
    worker: row.worker,
    isCancelRequested: row.is_cancel_requested === 1,
    cancelRequestedAtMs: row.cancel_requested_ms,
    isPauseRequested: row.is_pause_requested === 1,
    progress: row.progress === null ? null : readJson(row.progress),
    error: row.error === null ? null : readJson(row.error),
    result: row.result === null ? null : readJson(row.result),
    outputs: readJson(row.outputs),
    usage: { gpuSeconds: row.gpu_seconds, tokens: row.tokens, images: row.images },
    queuePosition: null,
    waitingFor: isWaiting && !isAnyoneAble(store, row, known) ? 'worker' : null,
  }
}

/** What the job reads: input, data, the files of its model. */
export function objectsOf(row: JobRow): StoredObject[] {
  const input: StoredObject[] = row.input_object === null ? [] : [readJson(row.input_object)]
  return [...input, ...readJson<StoredObject[]>(row.objects), ...modelOf(row).objects]
}

export function modelOf({ model }: JobRow): StoredModelRef {
  return readJson(model)
}

/** Keeps what an unfinished job reads from being deleted. */
function insertReads(store: BrokerStore, job: string, keys: readonly string[]): void {
  if (keys.length === 0) return
  run(store, 'INSERT OR IGNORE INTO job_reads (key, job) SELECT value, ? FROM json_each(?)', job, listParameter(keys))
}

/** What was deleted while the job read it goes now; its own input stays for as long as it can be tried again. */
export function deleteReads(store: BrokerStore, job: string): void {
  const freed = rows<{ key: string }>(store, 'DELETE FROM job_reads WHERE job = ? RETURNING key', job)
  discard(
    store,
    freed.map(({ key }) => key).filter((key) => !key.startsWith(`jobs/${job}/`)),
  )
}

/** @throws JobStateError when one of the job's files or its model is gone */
export function restoreReads(store: BrokerStore, row: JobRow): void {
  const keys = objectsOf(row).map(({ key }) => key)
  const outside = keys.filter((key) => !key.startsWith(`jobs/${row.id}/`))
  const isMissing = outside.some(
    (key) =>
      firstRow(
        store,
        'SELECT 1 FROM files WHERE key = ? UNION ALL SELECT 1 FROM model_objects WHERE key = ? LIMIT 1',
        key,
        key,
      ) === undefined,
  )
  if (isMissing || discardedAmong(store, keys) !== undefined)
    throw new JobStateError('a file or model that the job reads was deleted; make a new job instead')
  insertReads(store, row.id, keys)
}

/** @throws ModelNotFoundError when the fine-tuned model was deleted meanwhile */
function withKeys(store: BrokerStore, { project, model }: NewJob): StoredModelRef {
  const { id, base, objects } = model
  if (objects.length === 0) return { id, base, objects: [] }
  const row = firstRow<{ objects: string }>(
    store,
    'SELECT objects FROM models WHERE id = ? AND project = ?',
    id,
    project,
  )
  if (row === undefined) throw new ModelNotFoundError('the model was deleted meanwhile', { param: 'model' })
  return { id, base, objects: readJson(row.objects) }
}

/** How many jobs go before it, counted up to a bound: every submission asks, however long the queue is. Null unless it waits. */
export function queuePosition(store: BrokerStore, { state, priority, ordinal }: JobRow): number | null {
  if (state !== 'stored' && state !== 'queued') return null
  const { ahead } = firstRow<{ ahead: number }>(
    store,
    `SELECT count(*) ahead FROM (
       SELECT 1 FROM jobs WHERE state IN ('stored', 'queued') AND (priority, ordinal) < (?, ?) LIMIT ?
     )`,
    priority,
    ordinal,
    MAX_QUEUE_POSITION,
  ) ?? { ahead: 0 }
  return ahead
}

function isAnyoneAble(store: BrokerStore, row: JobRow, known: KnownWorkers): boolean {
  const needs = { kind: row.kind, minMemoryMib: row.min_memory_mib, need: row.need }
  return [...known.values()].some((worker) => {
    if (!isConnected(store, worker) || !canDo(worker.description, null, needs)) return false
    const token = findLiveToken(store, worker.token)
    return token !== undefined && canDo(worker.description, token.token.kinds, needs)
  })
}

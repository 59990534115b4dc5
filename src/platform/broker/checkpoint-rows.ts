// Checkpoints that leases of a job left. The newest ones can be resumed from; of older ones only the metrics are kept, since
// a checkpoint of a long training weighs gigabytes.

import { InvalidInputError } from '../../errors.ts'
import { newId } from '../../jobs/ids.ts'
import type { JobCheckpoint, StoredObject } from '../../jobs/job.ts'
import { outputKey } from '../../jobs/object-keys.ts'
import type { Page, Paged } from '../../jobs/ports.ts'
import type { Checkpoint } from '../../jobs/worker-protocol.ts'
import { addEvent } from './event-rows.ts'
import { firstRow, listParameter, readJson, rows, run, type BrokerStore } from './store.ts'
import { discard, takeBack } from './trash-rows.ts'

/** The one before the newest is kept too: the newest may turn out damaged (see giveUpResumed). */
const RESUMABLE = 2

type CheckpointRow = {
  ordinal: number
  id: string
  job: string
  fence: number
  step: number
  objects: string
  metrics: string
  created_ms: number
}

/** One that this lease has told before changes nothing. */
export function addCheckpoint(store: BrokerStore, job: string, fence: number, checkpoint: Checkpoint): void {
  const id = newId('checkpoint', store.randomHex)
  const { step, objects, metrics } = checkpoint
  const added = firstRow(
    store,
    `INSERT OR IGNORE INTO checkpoints (id, job, fence, step, objects, metrics, created_ms)
     VALUES (?, ?, ?, ?, ?, ?, ?) RETURNING id`,
    id,
    job,
    fence,
    step,
    JSON.stringify(objects),
    JSON.stringify(metrics),
    store.now(),
  )
  if (added === undefined) return
  const keys = keysOf({ job, fence, objects })
  takeBack(store, keys)
  const newestFirst = resumableRows(store, job)
  // Two leases may leave the same step; one of each is enough, and another step is worth more.
  const ofOwnStep = newestFirst.filter(
    (row, index) => newestFirst.findIndex((twin) => twin.step === row.step) === index,
  )
  const kept = ofOwnStep.slice(0, RESUMABLE)
  dropObjects(
    store,
    newestFirst.filter((row) => !kept.includes(row)),
    new Set(kept.flatMap(rowKeys)),
  )
  addEvent(store, job, { type: 'checkpoint', checkpoint: id, step })
}

export function hasCheckpoint(store: BrokerStore, job: string, fence: number, step: number): boolean {
  const row = firstRow(store, 'SELECT id FROM checkpoints WHERE job = ? AND fence = ? AND step = ?', job, fence, step)
  return row !== undefined
}

/** The lease could not read what it was to go on from: the next one goes on from the checkpoint before, or begins anew. */
export function giveUpResumed(store: BrokerStore, job: string, fence: number): void {
  const resumable = resumableRows(store, job)
  // A lease that left a checkpoint had read the one that it began with.
  if (resumable.some((row) => row.fence === fence)) return
  const resumed = resumable.find((row) => row.fence < fence)
  if (resumed === undefined) return
  dropObjects(store, [resumed], new Set(resumable.filter((row) => row !== resumed).flatMap(rowKeys)))
}

/** What a new lease goes on from: the newest checkpoint that an earlier lease left. */
export function resumeCheckpoint(
  store: BrokerStore,
  job: string,
  fence: number,
): { checkpoint: Checkpoint; objects: StoredObject[] } | undefined {
  const row = resumableRows(store, job).find((candidate) => candidate.fence < fence)
  if (row === undefined) return undefined
  const { objects, ...checkpoint } = toCheckpoint(row)
  return {
    checkpoint: { step: checkpoint.step, objects, metrics: checkpoint.metrics },
    objects: objects.map((object) => ({ ...object, key: outputKey(job, row.fence, object.name) })),
  }
}

/** Whether a lease left a checkpoint beyond all that earlier leases left. */
export function hasAdvanced(store: BrokerStore, job: string, fence: number): boolean {
  const last = firstRow<{ own: number | null; earlier: number | null }>(
    store,
    `SELECT max(step) FILTER (WHERE fence = ?) own, max(step) FILTER (WHERE fence < ?) earlier
     FROM checkpoints WHERE job = ?`,
    fence,
    fence,
    job,
  )
  return last !== undefined && last.own !== null && last.own > (last.earlier ?? -1)
}

/** Gives up the objects of every checkpoint of a job; those that its outputs name stay. */
export function dropCheckpointObjects(store: BrokerStore, job: string, kept: ReadonlySet<string>): void {
  dropObjects(store, resumableRows(store, job), kept)
}

/** @throws InvalidInputError when `after` is no checkpoint of this job */
export function pageOfCheckpoints(
  store: BrokerStore,
  job: string,
  { after, limit, order }: Page,
): Paged<JobCheckpoint> {
  let start = order === 'asc' ? 0 : Number.MAX_SAFE_INTEGER
  if (after !== undefined) {
    const row = firstRow<{ ordinal: number }>(
      store,
      'SELECT ordinal FROM checkpoints WHERE id = ? AND job = ?',
      after,
      job,
    )
    if (row === undefined)
      throw new InvalidInputError('after: expected the id of a checkpoint of this job', { param: 'after' })
    start = row.ordinal
  }
  const found = rows<CheckpointRow>(
    store,
    order === 'asc'
      ? 'SELECT * FROM checkpoints WHERE job = ? AND ordinal > ? ORDER BY ordinal LIMIT ?'
      : 'SELECT * FROM checkpoints WHERE job = ? AND ordinal < ? ORDER BY ordinal DESC LIMIT ?',
    job,
    start,
    limit + 1,
  )
  return { data: found.slice(0, limit).map(toCheckpoint), hasMore: found.length > limit }
}

/** Newest first. */
function resumableRows(store: BrokerStore, job: string): CheckpointRow[] {
  return rows<CheckpointRow>(
    store,
    'SELECT * FROM checkpoints WHERE job = ? AND is_resumable = 1 ORDER BY ordinal DESC',
    job,
  )
}

function dropObjects(store: BrokerStore, dropped: readonly CheckpointRow[], kept: ReadonlySet<string>): void {
  if (dropped.length === 0) return
  discard(
    store,
    dropped.flatMap(rowKeys).filter((key) => !kept.has(key)),
  )
  run(
    store,
    'UPDATE checkpoints SET is_resumable = 0 WHERE id IN (SELECT value FROM json_each(?))',
    listParameter(dropped.map(({ id }) => id)),
  )
}

function rowKeys(row: CheckpointRow): string[] {
  return keysOf(toCheckpoint(row))
}

function keysOf({ job, fence, objects }: Pick<JobCheckpoint, 'job' | 'fence' | 'objects'>): string[] {
  return objects.map(({ name }) => outputKey(job, fence, name))
}

function toCheckpoint({ id, job, fence, step, objects, metrics, created_ms }: CheckpointRow): JobCheckpoint {
  return { id, job, fence, step, objects: readJson(objects), metrics: readJson(metrics), createdAtMs: created_ms }
}

// What a worker's calls write: heartbeats with what they carry, failures, and the one completion that counts.

import { StaleLeaseError } from '../../jobs/errors.ts'
import type { FileRecord, FineTunedModel, OutputFile } from '../../jobs/job.ts'
import { BatchResultSchema } from '../../jobs/job-work.ts'
import { isInteractive } from '../../jobs/kinds.ts'
import type { Holder, LeaseRenewal } from '../../jobs/ports.ts'
import type { JobState } from '../../jobs/states.ts'
import type { Checkpoint, CompleteRequest, FailRequest, HeartbeatResponse } from '../../jobs/worker-protocol.ts'
import { addCheckpoint, giveUpResumed } from './checkpoint-rows.ts'
import { addEvent } from './event-rows.ts'
import { insertFile } from './file-rows.ts'
import { endJob } from './job-end.ts'
import type { JobRow } from './job-rows.ts'
import { countGpuSeconds, endLease, heldJob } from './lease-rows.ts'
import { insertModel } from './model-rows.ts'
import { firstRow, run, type BrokerStore } from './store.ts'
import { takeBack } from './trash-rows.ts'
import { addUsage } from './usage-rows.ts'

/** What workers say of a checkpoint that is damaged, or is not what was hashed when it was told. */
const UNREADABLE_CHECKPOINT = 'checkpoint_unreadable'

type JobBeat = LeaseRenewal['jobs'][number]

export function beatJobs(store: BrokerStore, request: LeaseRenewal, tokenId: string): HeartbeatResponse {
  const { worker, lease_ms, jobs } = request
  return {
    jobs: jobs.map((beat) => beatOfJob(store, { worker, tokenId, job: beat.job, fence: beat.fence }, lease_ms, beat)),
  }
}

function beatOfJob(
  store: BrokerStore,
  holder: Holder,
  leaseMs: number,
  beat: JobBeat,
): HeartbeatResponse['jobs'][number] {
  const { worker, job, fence } = holder
  const row = heldJob(store, holder)
  if (row === undefined) return { job, is_held: false, should_cancel: false, should_pause: false }
  // One that was seen before keeps the lease alive and says nothing new.
  const isNew = beat.sequence > row.heartbeat_sequence
  const progress = isNew && beat.progress !== undefined ? JSON.stringify(beat.progress) : null
  run(
    store,
    `UPDATE jobs SET lease_until_ms = ?, lease_ms = ?, heartbeat_sequence = ?, progress = coalesce(?, progress)
     WHERE id = ? AND worker = ? AND fence = ? AND state = 'running'`,
    store.now() + leaseMs,
    leaseMs,
    Math.max(beat.sequence, row.heartbeat_sequence),
    progress,
    job,
    worker,
    fence,
  )
  countGpuSeconds(store, row, beat.gpu_seconds)
  if (isNew) {
    for (const event of beat.events ?? []) addEvent(store, job, event)
    if (beat.progress !== undefined && progress !== row.progress)
      addEvent(store, job, { type: 'progress', progress: beat.progress })
  }
  return {
    job,
    is_held: true,
    should_cancel: row.is_cancel_requested === 1,
    should_pause: row.is_pause_requested === 1,
  }
}

export function keepCheckpoint(store: BrokerStore, holder: Holder, checkpoint: Checkpoint): void {
  if (heldJob(store, holder) !== undefined) addCheckpoint(store, holder.job, holder.fence, checkpoint)
}

export function refuseCheckpoint(store: BrokerStore, holder: Holder, step: number, reason: string): void {
  if (heldJob(store, holder) === undefined) return
  const message = `The checkpoint of step ${step} is not kept: ${reason}`
  addEvent(store, holder.job, { type: 'log', level: 'warn', message })
}

/** @throws StaleLeaseError */
export function failJob(store: BrokerStore, request: FailRequest, tokenId: string): { state: JobState } {
  const { worker, job, fence, outcome, error, checkpoint, gpu_seconds } = request
  const row = heldJob(store, { worker, tokenId, job, fence })
  if (row === undefined) throw staleLease()
  countGpuSeconds(store, row, gpu_seconds)
  if (checkpoint !== null) addCheckpoint(store, job, fence, checkpoint)
  if (error?.code === UNREADABLE_CHECKPOINT) giveUpResumed(store, job, fence)
  const state = endLease(store, row, outcome, error)
  if (state === undefined) throw staleLease()
  return { state }
}

/** @throws StaleLeaseError */
export function completeJob(
  store: BrokerStore,
  { worker, job, fence, result, usage }: CompleteRequest,
  tokenId: string,
  outputs: readonly OutputFile[],
  model: FineTunedModel | null,
): { isFirst: boolean } {
  const holder = { worker, tokenId, job, fence }
  const held = heldJob(store, holder)
  if (held === undefined) {
    if (completedJob(store, holder) !== undefined) return { isFirst: false }
    throw staleLease()
  }
  countGpuSeconds(store, held, usage.gpu_seconds)
  for (const output of outputs) {
    if (output.fileId !== null) insertFile(store, toFile(store, held, output.fileId, output))
  }
  takeBack(
    store,
    outputs.map(({ key }) => key),
  )
  if (model !== null) insertModel(store, model)
  const ended = endJob(store, job, {
    move: 'complete',
    message: 'The job succeeded.',
    error: null,
    lease: { worker, fence },
    result: {
      json: result === undefined || result === null ? null : JSON.stringify(result),
      outputs: JSON.stringify(outputs),
      tokens: usage.tokens,
      images: usage.images,
    },
  })
  if (ended === undefined) throw staleLease()
  addUsage(store, held.project, { requests: requestsIn(held, result), tokens: usage.tokens, images: usage.images })
  return { isFirst: true }
}

/** What a project's usage counts as requests: an interactive job is one, a batch those that it answered, training none. */
function requestsIn({ kind }: JobRow, result: unknown): number {
  if (isInteractive(kind)) return 1
  const batch = BatchResultSchema.safeParse(result)
  return kind === 'batch' && batch.success ? batch.data.request_counts.completed : 0
}

/** The same completion may arrive twice, when the worker did not hear the answer to the first. */
export function completedJob(store: BrokerStore, { worker, tokenId, job, fence }: Holder): JobRow | undefined {
  return firstRow<JobRow>(
    store,
    `SELECT * FROM jobs WHERE id = ? AND worker = ? AND token = ? AND fence = ? AND state = 'succeeded'`,
    job,
    worker,
    tokenId,
    fence,
  )
}

export function staleLease(): StaleLeaseError {
  return new StaleLeaseError('this lease is not the live one: the job was given to another worker, or has ended')
}

function toFile(store: BrokerStore, { project }: JobRow, id: string, output: OutputFile): FileRecord {
  const { filename, purpose, key, bytes, sha256, expiresAfterSeconds } = output
  const createdAtMs = store.now()
  const expiresAtMs = expiresAfterSeconds === undefined ? null : createdAtMs + expiresAfterSeconds * 1000
  return { id, project, key, bytes, sha256, filename, purpose, createdAtMs, expiresAtMs }
}

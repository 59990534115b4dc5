// The JobBroker port on one SQLite database: each method is one transaction on the rows, and waiting where it is asked for.

import type { JobRecord } from '../../jobs/job.ts'
import type { JobBroker, LeaseDesk, JobLedger } from '../../jobs/ports.ts'
import { InvalidWorkerTokenError } from '../../jobs/errors.ts'
import { isTerminal } from '../../jobs/states.ts'
import { MAX_WAIT_MS } from '../../jobs/worker-protocol.ts'
import { hasCheckpoint, pageOfCheckpoints } from './checkpoint-rows.ts'
import { eventsAfter, pageOfEvents } from './event-rows.ts'
import * as files from './file-rows.ts'
import * as idempotency from './idempotency-rows.ts'
import { cancelJob, pauseJob, resumeJob, retryJob } from './job-moves.ts'
import { insertJob, jobOf, markQueued, pageOfJobs, queuePosition, takeUnqueued, toRecord } from './job-rows.ts'
import { heldJob, isKeptAlone, readsOf, takeLeases } from './lease-rows.ts'
import type { LeaseWaiters } from './lease-waiters.ts'
import { readMetrics } from './metric-rows.ts'
import * as models from './model-rows.ts'
import { expireSome } from './retention.ts'
import { listParameter, rows, run, type BrokerStore } from './store.ts'
import { announce, discard, trashed } from './trash-rows.ts'
import * as uploads from './upload-rows.ts'
import { addUsage, checkGpuBudget, usageOf } from './usage-rows.ts'
import type { Waiters } from './waiters.ts'
import {
  beatJobs,
  completedJob,
  completeJob,
  failJob,
  keepCheckpoint,
  refuseCheckpoint,
  staleLease,
} from './worker-calls.ts'
import * as workers from './worker-rows.ts'
import * as webhooks from './webhook-rows.ts'

/** How soon a worker that is kept for one job is looked at again: nobody offers it the jobs that wait for that to end. */
const KEPT_ALONE_MS = 250

export interface BrokerParts {
  store: BrokerStore
  known: workers.KnownWorkers
  /** Wait for news of a job. */
  news: Waiters<string>
  /** Wait for work. */
  idle: LeaseWaiters
}

export function createBroker(parts: BrokerParts): JobBroker {
  const { store } = parts
  const within = <T>(work: () => T): Promise<T> => settle(() => store.transaction(work))
  return {
    ...ledger(parts),
    ...leaseDesk(parts),
    beginIdempotent: (project, request) => within(() => idempotency.beginKey(store, project, request)),
    finishIdempotent: (project, key, response) => within(() => idempotency.finishKey(store, project, key, response)),
    abandonIdempotent: (project, key) => within(() => idempotency.abandonKey(store, project, key)),
    listWorkers: () => within(() => workers.listWorkers(store, parts.known)),
    headsOf: (model) => within(() => workers.headsOf(parts.known, model)),
    createWorkerToken: (token, sha256) => within(() => workers.createToken(store, token, sha256)),
    listWorkerTokens: () => within(() => workers.listTokens(store)),
    revokeWorkerToken: (id) => within(() => workers.revokeToken(store, id)),
    findWorkerToken: (id) => within(() => workers.findLiveToken(store, id)),
    createFile: (file) => within(() => (files.insertFile(store, file), files.fileOf(store, file.project, file.id))),
    getFile: (project, id) => within(() => files.fileOf(store, project, id)),
    listFiles: (project, filter) => within(() => files.pageOfFiles(store, project, filter)),
    deleteFile: (project, id) => within(() => files.deleteFile(store, project, id)),
    createUpload: (upload) => within(() => uploads.createUpload(store, upload)),
    getUpload: (project, id) => within(() => uploads.uploadOf(store, project, id)),
    addPart: (project, uploadId, part) => within(() => uploads.addPart(store, project, uploadId, part)),
    partsOf: (project, uploadId, partIds) => within(() => uploads.partsOf(store, project, uploadId, partIds)),
    completeUpload: (completion, file) => within(() => uploads.completeUpload(store, completion, file)),
    completedUpload: (completion) => within(() => uploads.completedUpload(store, completion)),
    cancelUpload: (project, id) => within(() => uploads.cancelUpload(store, project, id)),
    listFineTunedModels: (project) => within(() => models.listModels(store, project)),
    getFineTunedModel: (project, id) => within(() => models.modelOfProject(store, project, id)),
    deleteFineTunedModel: (project, id) => within(() => models.deleteModel(store, project, id)),
    createWebhookEndpoint: (endpoint, secret) => within(() => webhooks.createEndpoint(store, endpoint, secret)),
    listWebhookEndpoints: (project) => within(() => webhooks.listEndpoints(store, project)),
    deleteWebhookEndpoint: (project, id) => within(() => webhooks.deleteEndpoint(store, project, id)),
    countUsage: (project, counts) => within(() => addUsage(store, project, counts)),
    usage: (project, range) => within(() => usageOf(store, project, range)),
    metrics: () => within(() => readMetrics(store, parts.known)),
    takeUnqueued: () => within(() => takeUnqueued(store)),
    async expire() {
      while (await within(() => expireSome(store, parts.known)));
    },
    announceObjects: (keys, keepMs) => within(() => announce(store, keys, keepMs)),
    discardObjects: (keys) => within(() => discard(store, keys, 0)),
    trash: (limit) => within(() => trashed(store, limit)),
    emptyTrash: (keys) =>
      within(() => run(store, 'DELETE FROM trash WHERE key IN (SELECT value FROM json_each(?))', listParameter(keys))),
  }
}

function ledger({ store, known, news }: BrokerParts): JobLedger {
  const read = (project: string, id: string): JobRecord => {
    const row = jobOf(store, project, id)
    return { ...toRecord(store, row, known), queuePosition: queuePosition(store, row) }
  }
  return {
    submit: (job, { idempotencyKey, gpuSecondsBudget }) =>
      settle(() =>
        store.transaction(() => {
          const earlier = idempotencyKey === null ? null : idempotency.boundJob(store, job.project, idempotencyKey)
          if (earlier !== null) return read(job.project, earlier)
          if (gpuSecondsBudget !== null) checkGpuBudget(store, job.project, gpuSecondsBudget)
          insertJob(store, job)
          addUsage(store, job.project, { jobs: 1 })
          if (idempotencyKey !== null) idempotency.bindJob(store, job.project, idempotencyKey, job.id)
          return read(job.project, job.id)
        }),
      ),
    markQueued: (ids) => settle(() => store.transaction(() => markQueued(store, ids))),
    get: (project, id) => settle(() => read(project, id)),
    list: (project, filter) =>
      settle(() => {
        const { data, hasMore } = pageOfJobs(store, project, filter)
        return { data: data.map((row) => toRecord(store, row, known)), hasMore }
      }),
    async waitForEnd(project, id, waitMs) {
      const untilMs = store.now() + Math.min(waitMs, MAX_WAIT_MS)
      for (;;) {
        const { state } = jobOf(store, project, id)
        const leftMs = untilMs - store.now()
        if (isTerminal(state) || leftMs <= 0) return read(project, id)
        await news.wait(id, leftMs)
      }
    },
    ...ownersMoves(store, read),
    async eventsAfter(project, id, sequence, { limit, waitMs }) {
      const untilMs = store.now() + Math.min(waitMs, MAX_WAIT_MS)
      for (;;) {
        const { state } = jobOf(store, project, id)
        const events = eventsAfter(store, id, sequence, limit)
        const leftMs = untilMs - store.now()
        // Not over while there may be more to read than was asked for.
        const isOver = isTerminal(state) && events.length < limit
        if (events.length > 0 || isOver || leftMs <= 0) return { events, isOver }
        await news.wait(id, leftMs)
      }
    },
    listEvents: (project, id, page) => settle(() => pageOfEvents(store, jobOf(store, project, id).id, page)),
    listCheckpoints: (project, id, page) => settle(() => pageOfCheckpoints(store, jobOf(store, project, id).id, page)),
  }
}

function ownersMoves(
  store: BrokerStore,
  read: (project: string, id: string) => JobRecord,
): Pick<JobLedger, 'cancel' | 'pause' | 'resume' | 'retry'> {
  const moved = (project: string, id: string, move: typeof cancelJob): Promise<JobRecord> =>
    settle(() =>
      store.transaction(() => {
        move(store, project, id)
        return read(project, id)
      }),
    )
  return {
    cancel: (project, id) => moved(project, id, cancelJob),
    pause: (project, id) => moved(project, id, pauseJob),
    resume: (project, id) => moved(project, id, resumeJob),
    retry: (project, id, { gpuSecondsBudget }) =>
      moved(project, id, () => {
        retryJob(store, project, id)
        // What is refused here is undone with the transaction.
        if (gpuSecondsBudget !== null) checkGpuBudget(store, project, gpuSecondsBudget)
      }),
  }
}

function leaseDesk({ store, known, idle }: BrokerParts): LeaseDesk {
  return {
    async lease(request, tokenId) {
      const untilMs = store.now() + request.wait_ms
      for (;;) {
        const token = workers.findLiveToken(store, tokenId)?.token
        if (token === undefined) throw new InvalidWorkerTokenError('the worker token is not a live one')
        const leases = store.transaction(() => {
          workers.markTokenUsed(store, token)
          workers.seeWorker(store, known, tokenId, request.worker)
          return takeLeases(store, request, token)
        })
        const leftMs = untilMs - store.now()
        if (leases.length > 0 || leftMs <= 0) return leases
        const nextMs = isKeptAlone(store, request.worker.id) ? KEPT_ALONE_MS : untilNextReady(store)
        await idle.wait(request.worker, token.kinds, Math.min(leftMs, nextMs))
      }
    },
    heartbeat: (request, tokenId) =>
      settle(() =>
        store.transaction(() => {
          workers.hearWorker(store, known, request.worker)
          return beatJobs(store, request, tokenId)
        }),
      ),
    isNewCheckpoint: (holder, step) =>
      settle(() => heldJob(store, holder) !== undefined && !hasCheckpoint(store, holder.job, holder.fence, step)),
    addCheckpoint: (holder, checkpoint) =>
      settle(() => store.transaction(() => keepCheckpoint(store, holder, checkpoint))),
    refuseCheckpoint: (holder, step, reason) =>
      settle(() => store.transaction(() => refuseCheckpoint(store, holder, step, reason))),
    heldObjects: (holder) =>
      settle(() => {
        const row = heldJob(store, holder)
        if (row === undefined) throw staleLease()
        return { project: row.project, reads: readsOf(store, row) }
      }),
    complete: (request, tokenId, outputs, model) =>
      settle(() => store.transaction(() => completeJob(store, request, tokenId, outputs, model))),
    fail: (request, tokenId) => settle(() => store.transaction(() => failJob(store, request, tokenId))),
    held: (holder) =>
      settle(() => {
        const row = heldJob(store, holder) ?? completedJob(store, holder)
        if (row === undefined) throw staleLease()
        return toRecord(store, row, known)
      }),
  }
}

/** Jobs between two attempts become ready by the clock alone. */
function untilNextReady(store: BrokerStore): number {
  const now = store.now()
  const next = rows<{ next: number | null }>(
    store,
    `SELECT min(not_before_ms) next FROM jobs WHERE state = 'queued' AND not_before_ms > ?`,
    now,
  )[0]?.next
  return next === undefined || next === null ? MAX_WAIT_MS : next - now
}

/** What is thrown becomes a rejection, as the port says. */
async function settle<T>(work: () => T): Promise<T> {
  return work()
}

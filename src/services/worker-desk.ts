// What workers are told and believed: leases for what their token opens, URLs of the objects of a job they hold, and an end
// of a job only after everything it brings was checked.

import type { z } from 'zod'
import { InsufficientScopeError, InvalidInputError } from '../errors.ts'
import { OutputMismatchError, ResourceNotFoundError } from '../jobs/errors.ts'
import type { JobRecord, StoredObject } from '../jobs/job.ts'
import { JOB_WORK } from '../jobs/job-work.ts'
import { outputKey } from '../jobs/object-keys.ts'
import type { Holder, UrlSigner, WorkerToken } from '../jobs/ports.ts'
import { isTerminal, type JobState } from '../jobs/states.ts'
import {
  MAX_INLINE_BYTES,
  RESULT_OBJECT,
  type Checkpoint,
  type CompleteRequest,
  type FailRequest,
  type HeartbeatRequest,
  type HeartbeatResponse,
  type JobObject,
  type Lease,
  type LeaseRequest,
  type UrlsRequest,
  type UrlsResponse,
} from '../jobs/worker-protocol.ts'
import { MAX_ANSWER_BYTES } from './answer-size.ts'
import type { JobDependencies } from './job-dependencies.ts'
import { toFineTunedModel, toOutputFiles } from './job-outputs.ts'
import { verifyObjects } from './verify-objects.ts'

const URL_LIFE_SECONDS = 15 * 60
/** The worker counts its own JSON; another serializer writes the same numbers a little longer. */
const MAX_ROW_CHARACTERS = 2 * MAX_INLINE_BYTES
/** Longer than any job may run: what it wrote at its beginning is named at its end. */
const KEEP_WRITTEN_MS = 8 * 24 * 3_600_000

/**
 * @param signal aborts when the worker is gone, whose leases are then handed back at once
 * @throws InsufficientScopeError when the token opens none of the kinds asked for
 */
export async function leaseJobs(
  { broker }: Pick<JobDependencies, 'broker'>,
  token: WorkerToken,
  request: LeaseRequest,
  signal: AbortSignal,
): Promise<Lease[]> {
  const { kinds } = token
  const allowed = request.worker.kinds.filter((kind) => kinds === null || kinds.includes(kind))
  if (allowed.length === 0) {
    throw new InsufficientScopeError(`worker.kinds: this token opens ${kinds?.join(', ')} only`, {
      param: 'worker.kinds',
    })
  }
  const leases = await broker.lease({ ...request, worker: { ...request.worker, kinds: allowed } }, token.id)
  if (signal.aborted) {
    for (const { job, fence } of leases) {
      const handedBack = { worker: request.worker.id, job, fence, outcome: 'handed_back' as const }
      await broker.fail({ ...handedBack, error: null, checkpoint: null, gpu_seconds: 0 }, token.id)
    }
  }
  return leases
}

/**
 * Extends every lease before anything is read: storage may be slow, a lease is not. A checkpoint that is not what lies in the
 * bucket costs nobody their lease either; the job's history says that it was not kept.
 */
export async function beat(
  deps: Pick<JobDependencies, 'broker' | 'objects' | 'log'>,
  token: WorkerToken,
  request: HeartbeatRequest,
): Promise<HeartbeatResponse> {
  const jobs = request.jobs.map((told) => {
    const renewal = { ...told }
    delete renewal.checkpoint
    return renewal
  })
  const answer = await deps.broker.heartbeat({ ...request, jobs }, token.id)
  await Promise.all(
    request.jobs.map(async ({ job, fence, checkpoint }) => {
      if (checkpoint === undefined) return
      const holder = { worker: request.worker, tokenId: token.id, job, fence }
      if (await isGoodCheckpoint(deps, holder, checkpoint)) await deps.broker.addCheckpoint(holder, checkpoint)
    }),
  )
  return answer
}

/**
 * @param urls signs for the bucket as this worker reaches it
 * @throws StaleLeaseError; ResourceNotFoundError for an object that is not one of the job's, whoever's it is
 */
export async function signUrls(
  { broker, urls }: Pick<JobDependencies, 'broker'> & { urls: UrlSigner },
  token: WorkerToken,
  request: UrlsRequest,
): Promise<UrlsResponse> {
  const { reads: readable } = await broker.heldObjects(holderOf(request, token))
  const reads = request.reads.map((name) => {
    const object = readable.find((candidate) => candidate.name === name)
    if (object === undefined) throw new ResourceNotFoundError(`reads: ${name} is not an object of this job`)
    return object
  })
  const writes = located(request.job, request.fence, request.writes)
  if (writes.length > 0) {
    await broker.announceObjects(
      writes.map(({ key }) => key),
      KEEP_WRITTEN_MS,
    )
  }
  return {
    expires_in_seconds: URL_LIFE_SECONDS,
    reads: await Promise.all(
      reads.map(async ({ name, key, bytes, sha256 }) => ({
        name,
        url: await urls.signRead(key, URL_LIFE_SECONDS),
        bytes,
        sha256,
      })),
    ),
    writes: await Promise.all(
      writes.map(async ({ name, key }) => ({ name, url: await urls.signWrite(key, URL_LIFE_SECONDS) })),
    ),
  }
}

/**
 * Ends a job with what it brought, after all of it was checked.
 * @throws StaleLeaseError, OutputMismatchError, InvalidInputError when the result is not one of this kind of job
 */
export async function completeJob(
  { broker, objects, nowMs, randomHex }: Pick<JobDependencies, 'broker' | 'objects' | 'nowMs' | 'randomHex'>,
  token: WorkerToken,
  request: CompleteRequest,
): Promise<{ isFirst: boolean }> {
  const job = await broker.held(holderOf(request, token))
  // This very completion has arrived before, and its answer was lost.
  if (isTerminal(job.state)) return { isFirst: false }
  const outputs = located(request.job, request.fence, request.outputs)
  const names = new Set(outputs.map(({ name }) => name))
  if (names.size < outputs.length) throw new InvalidInputError('outputs: expected each name once', { param: 'outputs' })
  await verifyObjects(objects, outputs)
  const inline = request.result ?? null
  const result = parseResult(job, inline ?? (await readResultObject(objects, outputs)))
  if (inline !== null) checkInlineLength(result)
  const files = toOutputFiles(job, outputs, randomHex)
  const model = toFineTunedModel(job, result, outputs, nowMs())
  return broker.complete({ ...request, result: inline === null ? null : result }, token.id, files, model)
}

/**
 * Ends a lease without a result. A checkpoint that is not what the worker says is left out: refusing the end for it would keep
 * a job running that its worker has let go of.
 * @throws StaleLeaseError
 */
export async function failJob(
  deps: Pick<JobDependencies, 'broker' | 'objects' | 'log'>,
  token: WorkerToken,
  request: FailRequest,
): Promise<{ state: JobState }> {
  const { checkpoint } = request
  const isGood = checkpoint !== null && (await isGoodCheckpoint(deps, holderOf(request, token), checkpoint))
  return deps.broker.fail(isGood ? request : { ...request, checkpoint: null }, token.id)
}

/** Reads the objects of a checkpoint that its lease has not left yet; what is kept already, or comes too late, is not read. */
async function isGoodCheckpoint(
  { broker, objects, log }: Pick<JobDependencies, 'broker' | 'objects' | 'log'>,
  holder: Holder,
  { step, objects: told }: Checkpoint,
): Promise<boolean> {
  if (!(await broker.isNewCheckpoint(holder, step))) return false
  const { job, fence } = holder
  try {
    await verifyObjects(objects, located(job, fence, told))
    return true
  } catch (error) {
    if (!(error instanceof OutputMismatchError)) throw error
    log(JSON.stringify({ event: 'checkpoint_refused', job, fence, step, error: error.message }))
    await broker.refuseCheckpoint(holder, step, error.message)
    return false
  }
}

function holderOf({ worker, job, fence }: Omit<Holder, 'tokenId'>, { id: tokenId }: WorkerToken): Holder {
  return { worker, tokenId, job, fence }
}

/** Where a lease's own objects lie: a worker says names, never keys. */
function located(job: string, fence: number, objects: readonly JobObject[]): StoredObject[] {
  return objects.map((object) => ({ ...object, key: outputKey(job, fence, object.name) }))
}

function checkInlineLength(result: unknown): void {
  const { length } = JSON.stringify(result)
  if (length <= MAX_ROW_CHARACTERS) return
  throw new InvalidInputError(
    `result: expected at most ${MAX_INLINE_BYTES} bytes of JSON, got ${length}; send an output ${RESULT_OBJECT}`,
    { param: 'result' },
  )
}

async function readResultObject(
  objects: JobDependencies['objects'],
  outputs: readonly StoredObject[],
): Promise<unknown> {
  const output = outputs.find(({ name }) => name === RESULT_OBJECT)
  if (output === undefined) {
    throw new InvalidInputError(`result: expected one, or an output ${RESULT_OBJECT}, got neither`, { param: 'result' })
  }
  if (output.bytes > MAX_ANSWER_BYTES) {
    throw new InvalidInputError(`${RESULT_OBJECT}: expected at most ${MAX_ANSWER_BYTES} bytes, got ${output.bytes}`)
  }
  const object = await objects.get(output.key)
  if (object === undefined) throw new OutputMismatchError(`${RESULT_OBJECT}: it went while it was read`)
  try {
    const parsed: unknown = JSON.parse(await new Response(object.body).text())
    return parsed
  } catch (cause) {
    throw new OutputMismatchError(`${RESULT_OBJECT}: expected JSON`, { cause })
  }
}

/** @throws InvalidInputError naming what is wrong by its place in the result */
function parseResult({ kind }: JobRecord, result: unknown): unknown {
  const schema: z.ZodType = JOB_WORK[kind].result
  const parsed = schema.safeParse(result)
  if (parsed.success) return parsed.data
  const issue = parsed.error.issues[0]
  const where = ['result', ...(issue?.path ?? [])].map(String).join('.')
  throw new InvalidInputError(`${where}: ${issue?.message ?? 'invalid'}`, { param: where })
}

// /v1/batches: create, retrieve, list, cancel, as OpenAI has them. A batch is a job under the same id.

import { z } from 'zod'
import { ResourceNotFoundError } from '../jobs/errors.ts'
import { BATCH_ERRORS, BATCH_OUTPUT, BatchResultSchema } from '../jobs/job-work.ts'
import { isId } from '../jobs/ids.ts'
import type { JobRecord } from '../jobs/job.ts'
import { submitBatch } from '../services/batch-jobs.ts'
import type { JobDependencies } from '../services/job-dependencies.ts'
import { BatchJobSchema } from '../services/job-requests.ts'
import { BatchRequestSchema, completionWindowMs, type Batch } from './batches-schema.ts'
import type { AppContext, Route } from './context.ts'
import { runOnce } from './idempotency.ts'
import { pageQuery } from './paging.ts'
import { expectObject, parseField } from './parse-field.ts'
import { toSeconds } from './unix-seconds.ts'

const SCOPES = ['jobs'] as const
export const BatchListQuerySchema = pageQuery(20)

export function batchRoutes(deps: JobDependencies): Route[] {
  const { broker } = deps
  return [
    { method: 'POST', path: '/v1/batches', scopes: SCOPES, handle: (c) => createBatch(c, deps) },
    { method: 'GET', path: '/v1/batches', scopes: SCOPES, handle: (c) => listBatches(c, deps) },
    {
      method: 'GET',
      path: '/v1/batches/:batch',
      scopes: SCOPES,
      handle: async (c) => c.json(toBatch(await broker.get(c.var.project, batchId(c)))),
    },
    {
      method: 'POST',
      path: '/v1/batches/:batch/cancel',
      scopes: SCOPES,
      handle: async (c) => c.json(toBatch(await broker.cancel(c.var.project, batchId(c)))),
    },
  ]
}

function createBatch(c: AppContext, deps: JobDependencies): Promise<Response> {
  return runOnce(c, deps, async ({ body, attempt }) => {
    const fields = expectObject(body, 'input_file_id, endpoint and completion_window')
    const request = parseField(BatchRequestSchema, fields, '')
    const job = await c.var.stages.measure('broker', () =>
      submitBatch(
        {
          project: c.var.project,
          endpoint: request.endpoint,
          inputFile: request.input_file_id,
          completionWindow: request.completion_window,
          completionWindowMs: completionWindowMs(request.completion_window) ?? 0,
          outputExpiresAfterSeconds: request.output_expires_after?.seconds ?? null,
          metadata: request.metadata ?? null,
          maxRuntimeSeconds: request.x_flava?.max_runtime_seconds,
          attempt,
        },
        deps,
      ),
    )
    c.var.facts.job = job.id
    return { status: 200, headers: { 'content-type': 'application/json' }, body: JSON.stringify(toBatch(job)) }
  })
}

async function listBatches(c: AppContext, { broker }: JobDependencies): Promise<Response> {
  const { after, limit } = parseField(BatchListQuerySchema, c.req.query(), '')
  const page = { kinds: ['batch'] as const, after, limit, order: 'desc' as const }
  const { data, hasMore } = await broker.list(c.var.project, page)
  return c.json({
    object: 'list',
    data: data.map(toBatch),
    first_id: data[0]?.id ?? null,
    last_id: data.at(-1)?.id ?? null,
    has_more: hasMore,
  })
}

/** @throws ResourceNotFoundError for the id of anything else */
function batchId(c: AppContext): string {
  const id = c.req.param('batch') ?? ''
  if (!isId(id, 'batch')) throw new ResourceNotFoundError('no such batch')
  c.var.facts.job = id
  return id
}

function toBatch(job: JobRecord): Batch {
  const request = BatchJobSchema.parse(job.request)
  const status = statusOf(job)
  const endedAs = (...statuses: Batch['status'][]): number | null =>
    statuses.includes(status) ? toSeconds(job.endedAtMs) : null
  const fileOf = (name: string): string | null => job.outputs.find((output) => output.name === name)?.fileId ?? null
  return {
    id: job.id,
    object: 'batch',
    endpoint: request.endpoint,
    model: job.modelId,
    errors: errorsOf(job, status),
    input_file_id: request.inputFile,
    completion_window: request.completionWindow,
    status,
    output_file_id: fileOf(BATCH_OUTPUT),
    error_file_id: fileOf(BATCH_ERRORS),
    created_at: toSeconds(job.createdAtMs),
    in_progress_at: toSeconds(job.startedAtMs),
    expires_at: toSeconds(job.deadlineMs),
    // Not a moment of its own: a batch is finalized in the statement that completes it.
    finalizing_at: endedAs('completed'),
    cancelling_at: toSeconds(job.cancelRequestedAtMs) ?? endedAs('cancelled'),
    completed_at: endedAs('completed'),
    failed_at: endedAs('failed'),
    expired_at: endedAs('expired'),
    cancelled_at: endedAs('cancelled'),
    request_counts: countsOf(job),
    metadata: request.metadata,
    x_flava: { engine: 'gpu', job: job.id, state: job.state, gpu_seconds: job.usage.gpuSeconds },
  }
}

function statusOf({ state, attempt, isCancelRequested, progress }: JobRecord): Batch['status'] {
  switch (state) {
    case 'stored':
    case 'queued':
    case 'paused':
      return attempt === 0 ? 'validating' : 'in_progress'
    case 'running':
      if (isCancelRequested) return 'cancelling'
      return progress !== null && progress.total > 0 && progress.done >= progress.total ? 'finalizing' : 'in_progress'
    case 'succeeded':
      return 'completed'
    case 'failed':
    case 'dead':
      return 'failed'
    case 'cancelled':
      return 'cancelled'
    case 'expired':
      return 'expired'
  }
}

/** An error of an attempt that is followed by another is not the batch's. */
function errorsOf({ error }: JobRecord, status: Batch['status']): Batch['errors'] {
  return error === null || status !== 'failed' ? null : { object: 'list', data: [error] }
}

const CountsSchema = z.object({ total: z.int(), completed: z.int(), failed: z.int() }).partial()

/** The result's own, or, until it is there, what the worker last told. */
function countsOf({ result, progress }: JobRecord): Batch['request_counts'] {
  const finished = BatchResultSchema.safeParse(result)
  if (finished.success) return finished.data.request_counts
  const { total = progress?.total ?? 0, completed = 0, failed = 0 } = CountsSchema.parse(progress?.counts ?? {})
  return { total, completed, failed }
}

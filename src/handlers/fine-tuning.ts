// /v1/fine_tuning/jobs: create, retrieve, list, cancel, pause, resume, events, checkpoints, as OpenAI has them. A fine-tuning
// job is a job under the same id.

import type { z } from 'zod'
import { InvalidInputError } from '../errors.ts'
import { ResourceNotFoundError } from '../jobs/errors.ts'
import { isId } from '../jobs/ids.ts'
import { MethodSchema } from '../jobs/job-work.ts'
import { submitFineTuning, type Method } from '../services/fine-tuning-jobs.ts'
import type { JobDependencies } from '../services/job-dependencies.ts'
import type { AppContext, Route } from './context.ts'
import { toFineTuningCheckpoint, toFineTuningEvent, toFineTuningJob } from './fine-tuning-format.ts'
import { FineTuningRequestSchema } from './fine-tuning-schema.ts'
import { runOnce } from './idempotency.ts'
import { pageQuery } from './paging.ts'
import { expectObject, parseField } from './parse-field.ts'

type Request = z.infer<typeof FineTuningRequestSchema>

const SCOPES = ['jobs'] as const
const ROOT = '/v1/fine_tuning/jobs'
export const FineTuningListQuerySchema = pageQuery(20)
export const CheckpointListQuerySchema = pageQuery(10)

export function fineTuningRoutes(deps: JobDependencies): Route[] {
  const { broker, nowMs } = deps
  const act = (name: 'cancel' | 'pause' | 'resume'): Route => ({
    method: 'POST',
    path: `${ROOT}/:job/${name}`,
    scopes: SCOPES,
    handle: async (c) => c.json(toFineTuningJob(await broker[name](c.var.project, jobId(c)), nowMs())),
  })
  return [
    { method: 'POST', path: ROOT, scopes: SCOPES, handle: (c) => createJob(c, deps) },
    { method: 'GET', path: ROOT, scopes: SCOPES, handle: (c) => listJobs(c, deps) },
    {
      method: 'GET',
      path: `${ROOT}/:job`,
      scopes: SCOPES,
      handle: async (c) => c.json(toFineTuningJob(await broker.get(c.var.project, jobId(c)), nowMs())),
    },
    act('cancel'),
    act('pause'),
    act('resume'),
    { method: 'GET', path: `${ROOT}/:job/events`, scopes: SCOPES, handle: (c) => listEvents(c, deps) },
    { method: 'GET', path: `${ROOT}/:job/checkpoints`, scopes: SCOPES, handle: (c) => listCheckpoints(c, deps) },
  ]
}

function createJob(c: AppContext, deps: JobDependencies): Promise<Response> {
  return runOnce(c, deps, async ({ body, attempt }) => {
    const request = parseField(FineTuningRequestSchema, expectObject(body, 'model and training_file'), '')
    const order = {
      project: c.var.project,
      model: request.model,
      trainingFile: request.training_file,
      validationFile: request.validation_file ?? null,
      mediaFiles: request.x_flava?.media_files ?? [],
      suffix: request.suffix ?? null,
      seed: request.seed ?? null,
      method: methodOf(request),
      metadata: request.metadata ?? null,
      maxRuntimeSeconds: request.x_flava?.max_runtime_seconds,
      attempt,
    }
    const job = await c.var.stages.measure('broker', () => submitFineTuning(order, deps))
    c.var.facts.job = job.id
    const answer = toFineTuningJob(job, deps.nowMs())
    return { status: 200, headers: { 'content-type': 'application/json' }, body: JSON.stringify(answer) }
  })
}

/** @throws InvalidInputError when hyperparameters stand in both places, or in none that they fit */
function methodOf({ method, hyperparameters }: Request): Method {
  const old = hyperparameters ?? {}
  if (method === null || method === undefined) {
    return parseField(MethodSchema, { type: 'supervised', supervised: { hyperparameters: old } }, 'method')
  }
  if (Object.keys(old).length === 0) return method
  throw new InvalidInputError('hyperparameters: expected them within method, beside which they stand', {
    param: 'hyperparameters',
  })
}

async function listJobs(c: AppContext, { broker, nowMs }: JobDependencies): Promise<Response> {
  const query = c.req.query()
  const filter = Object.keys(query).find((name) => name.startsWith('metadata'))
  if (filter !== undefined) {
    throw new InvalidInputError('metadata: jobs are not filtered by it here', { param: 'metadata' })
  }
  const { after, limit } = parseField(FineTuningListQuerySchema, query, '')
  const page = { kinds: ['fine_tuning'] as const, after, limit, order: 'desc' as const }
  const { data, hasMore } = await broker.list(c.var.project, page)
  return c.json({ object: 'list', data: data.map((job) => toFineTuningJob(job, nowMs())), has_more: hasMore })
}

async function listEvents(c: AppContext, { broker }: JobDependencies): Promise<Response> {
  const { after, limit } = parseField(FineTuningListQuerySchema, c.req.query(), '')
  const { data, hasMore } = await broker.listEvents(c.var.project, jobId(c), { after, limit, order: 'desc' })
  return c.json({ object: 'list', data: data.map(toFineTuningEvent), has_more: hasMore })
}

async function listCheckpoints(c: AppContext, { broker }: JobDependencies): Promise<Response> {
  const { after, limit } = parseField(CheckpointListQuerySchema, c.req.query(), '')
  const job = await broker.get(c.var.project, jobId(c))
  const { data, hasMore } = await broker.listCheckpoints(c.var.project, job.id, { after, limit, order: 'desc' })
  return c.json({
    object: 'list',
    data: data.map((checkpoint) => toFineTuningCheckpoint(checkpoint, job)),
    first_id: data[0]?.id ?? null,
    last_id: data.at(-1)?.id ?? null,
    has_more: hasMore,
  })
}

/** @throws ResourceNotFoundError for the id of anything else */
function jobId(c: AppContext): string {
  const id = c.req.param('job') ?? ''
  if (!isId(id, 'fineTuningJob')) throw new ResourceNotFoundError('no such fine-tuning job')
  c.var.facts.job = id
  return id
}

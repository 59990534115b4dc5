// /v1/jobs: jobs of every kind under one shape; cancel, retry.

import type { JobRecord } from '../jobs/job.ts'
import type { JobDependencies } from '../services/job-dependencies.ts'
import type { AppContext, Route } from './context.ts'
import { streamJobEvents } from './job-events.ts'
import { toJob, toJobWithResult } from './job-format.ts'
import { JobListQuerySchema } from './jobs-schema.ts'
import { parseField } from './parse-field.ts'

const SCOPES = ['jobs'] as const

export function jobRoutes(deps: JobDependencies): Route[] {
  const { broker, objects, gpuSecondsBudgetOf } = deps
  const act = (name: string, move: (project: string, id: string) => Promise<JobRecord>): Route => ({
    method: 'POST',
    path: `/v1/jobs/:job/${name}`,
    scopes: SCOPES,
    handle: async (c) => c.json(toJob(await ask(c, move))),
  })
  return [
    { method: 'GET', path: '/v1/jobs', scopes: SCOPES, handle: (c) => listJobs(c, deps) },
    {
      method: 'GET',
      path: '/v1/jobs/:job',
      scopes: SCOPES,
      handle: async (c) =>
        c.json(await toJobWithResult(await ask(c, (project, id) => broker.get(project, id)), objects)),
    },
    act('cancel', (project, id) => broker.cancel(project, id)),
    act('retry', (project, id) => broker.retry(project, id, { gpuSecondsBudget: gpuSecondsBudgetOf(project) })),
    { method: 'GET', path: '/v1/jobs/:job/events', scopes: SCOPES, handle: (c) => streamJobEvents(c, deps) },
  ]
}

async function listJobs(c: AppContext, { broker }: JobDependencies): Promise<Response> {
  const { kind, after, limit, order } = parseField(JobListQuerySchema, c.req.query(), '')
  const kinds = kind === undefined ? undefined : [kind]
  const { data, hasMore } = await c.var.stages.measure('broker', () =>
    broker.list(c.var.project, { kinds, after, limit, order }),
  )
  return c.json({
    object: 'list',
    data: data.map(toJob),
    first_id: data[0]?.id ?? null,
    last_id: data.at(-1)?.id ?? null,
    has_more: hasMore,
  })
}

/** @throws ResourceNotFoundError also for another project's */
async function ask(c: AppContext, call: (project: string, id: string) => Promise<JobRecord>): Promise<JobRecord> {
  const job = await c.var.stages.measure('broker', () => call(c.var.project, c.req.param('job') ?? ''))
  c.var.facts.job = job.id
  return job
}

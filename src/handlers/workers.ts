// GET /v1/workers: the GPU workers that are or were connected, and what they can do.

import { z } from 'zod'
import type { ConnectedWorker } from '../jobs/ports.ts'
import { WorkerSchema } from '../jobs/worker-protocol.ts'
import type { JobDependencies } from '../services/job-dependencies.ts'
import type { AppContext, Route } from './context.ts'
import { toSeconds } from './unix-seconds.ts'

const ConnectedWorkerSchema = WorkerSchema.extend({
  object: z.literal('worker'),
  is_connected: z.boolean().meta({ description: 'It was heard of within the last minute or so.' }),
  first_seen_at: z.int(),
  last_seen_at: z.int(),
  running: z.int().meta({ description: 'Jobs that it holds.' }),
  token: z.string().optional().meta({ description: 'Id of its token, for keys with the scope admin.' }),
  jobs: z.array(z.string()).optional().meta({ description: 'Of all projects, for keys with the scope admin.' }),
}).meta({ id: 'Worker' })

export const WorkerListSchema = z
  .object({ object: z.literal('list'), data: z.array(ConnectedWorkerSchema) })
  .meta({ id: 'WorkerList' })

export function workerRoutes(deps: Pick<JobDependencies, 'broker'>): Route[] {
  return [{ method: 'GET', path: '/v1/workers', scopes: ['jobs'], handle: (c) => listWorkers(c, deps) }]
}

async function listWorkers(c: AppContext, { broker }: Pick<JobDependencies, 'broker'>): Promise<Response> {
  const workers = await broker.listWorkers()
  return c.json({ object: 'list', data: workers.map((worker) => toWire(worker, c.var.isAdmin)) })
}

/** Tokens, and jobs of other projects, are the operator's business alone. */
function toWire(worker: ConnectedWorker, isAdmin: boolean): z.infer<typeof ConnectedWorkerSchema> {
  const { tokenId, firstSeenMs, lastSeenMs, isConnected, jobs, ...description } = worker
  return {
    ...description,
    object: 'worker',
    is_connected: isConnected,
    first_seen_at: toSeconds(firstSeenMs),
    last_seen_at: toSeconds(lastSeenMs),
    running: jobs.length,
    ...(isAdmin ? { token: tokenId, jobs } : {}),
  }
}

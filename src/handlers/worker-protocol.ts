// POST /v1/worker/{lease,heartbeat,complete,fail,urls}: what GPU workers call, and nobody else. Their token is not an API
// key, so these routes ask for it themselves.

import type { z } from 'zod'
import type { WorkerToken } from '../jobs/ports.ts'
import {
  CompleteRequestSchema,
  type CompleteResponseSchema,
  FailRequestSchema,
  type FailResponseSchema,
  HeartbeatRequestSchema,
  LeaseRequestSchema,
  type LeaseResponseSchema,
  UrlsRequestSchema,
} from '../jobs/worker-protocol.ts'
import type { JobDependencies } from '../services/job-dependencies.ts'
import { beat, completeJob, failJob, leaseJobs, signUrls } from '../services/worker-desk.ts'
import type { AppContext, Route } from './context.ts'
import { parseField } from './parse-field.ts'
import { readJson } from './request-body.ts'
import { admitWorker } from './worker-authorization.ts'

type WorkerDependencies = Pick<JobDependencies, 'broker' | 'objects' | 'signerFor' | 'nowMs' | 'randomHex' | 'log'>

export function workerProtocolRoutes(deps: WorkerDependencies): Route[] {
  const route = <Request>(
    name: string,
    schema: z.ZodType<Request>,
    answer: (c: AppContext, token: WorkerToken, request: Request) => Promise<unknown>,
  ): Route => ({
    method: 'POST',
    path: `/v1/worker/${name}`,
    handle: async (c) => {
      const token = await admitWorker(c, deps)
      const request = parseField(schema, await readJson(c), '')
      return c.json(await c.var.stages.measure('broker', () => answer(c, token, request)))
    },
  })
  return [
    route('lease', LeaseRequestSchema, async (c, token, request): Promise<z.infer<typeof LeaseResponseSchema>> => {
      const leases = await leaseJobs(deps, token, request, c.var.signal)
      c.var.facts.items = leases.length
      return { leases }
    }),
    route('heartbeat', HeartbeatRequestSchema, (_c, token, request) => beat(deps, token, request)),
    route('urls', UrlsRequestSchema, (c, token, request) => {
      const urls = deps.signerFor(c.req.url)
      return signUrls({ broker: deps.broker, urls }, token, request)
    }),
    route(
      'complete',
      CompleteRequestSchema,
      async (c, token, request): Promise<z.infer<typeof CompleteResponseSchema>> => {
        c.var.facts.job = request.job
        const { isFirst } = await completeJob(deps, token, request)
        return { is_first: isFirst }
      },
    ),
    route('fail', FailRequestSchema, async (c, token, request): Promise<z.infer<typeof FailResponseSchema>> => {
      c.var.facts.job = request.job
      return failJob(deps, token, request)
    }),
  ]
}

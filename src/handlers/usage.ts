// GET /v1/usage: what the key's project has used, by day.

import { z } from 'zod'
import { InvalidInputError } from '../errors.ts'
import type { JobDependencies } from '../services/job-dependencies.ts'
import { reportUsage } from '../services/usage.ts'
import type { AppContext, Route } from './context.ts'
import { parseField } from './parse-field.ts'

type UsageDependencies = Pick<JobDependencies, 'broker' | 'nowMs' | 'gpuSecondsBudgetOf'>

const counts = {
  requests: z.int().meta({ description: 'Answered: at the edge, by an interactive job, in a batch.' }),
  tokens: z.int().meta({ description: 'That a model read; a picture counts its patches and one.' }),
  images: z.int(),
  gpu_seconds: z.number(),
  jobs: z.int(),
}

export const UsageQuerySchema = z.object({
  from: z.iso.date().optional().meta({ description: 'First day, UTC. Default: the first of the month.' }),
  to: z.iso.date().optional().meta({ description: 'Last day, UTC. Default: today.' }),
})

export const UsageSchema = z
  .object({
    object: z.literal('usage'),
    from: z.iso.date(),
    to: z.iso.date(),
    data: z.array(z.object({ date: z.iso.date(), ...counts })).meta({ description: 'Days that have any.' }),
    total: z.object(counts),
    gpu_seconds_budget: z.number().nullable().meta({ description: 'Of a calendar month; null for no limit.' }),
  })
  .meta({ id: 'Usage' })

export function usageRoutes(deps: UsageDependencies): Route[] {
  return [{ method: 'GET', path: '/v1/usage', scopes: ['embed', 'classify', 'jobs'], handle: (c) => getUsage(c, deps) }]
}

async function getUsage(c: AppContext, deps: UsageDependencies): Promise<Response> {
  const { from, to } = parseField(UsageQuerySchema, c.req.query(), '')
  if (from !== undefined && to !== undefined && from > to) {
    throw new InvalidInputError('from: expected a day that is not after to', { param: 'from' })
  }
  const { project } = c.var
  const report = await reportUsage(deps, project, { fromDay: from, toDay: to })
  const toWire = ({ gpuSeconds, ...rest }: typeof report.total): z.infer<typeof UsageSchema>['total'] => ({
    ...rest,
    gpu_seconds: gpuSeconds,
  })
  const body: z.infer<typeof UsageSchema> = {
    object: 'usage',
    from: report.fromDay,
    to: report.toDay,
    data: report.days.map(({ day, ...used }) => ({ date: day, ...toWire(used) })),
    total: toWire(report.total),
    gpu_seconds_budget: deps.gpuSecondsBudgetOf(project),
  }
  return c.json(body)
}

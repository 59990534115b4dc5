// Every route of the service: method, path, who may call it, and its handler.

import { AppError } from '../errors.ts'
import type { JobDependencies } from '../services/job-dependencies.ts'
import { createUsageMeter } from '../services/usage-meter.ts'
import { batchRoutes } from './batches.ts'
import type { AppDependencies, Route } from './context.ts'
import { createEmbeddings } from './embeddings.ts'
import { fileRoutes } from './files.ts'
import { fineTuningRoutes } from './fine-tuning.ts'
import { getLiveness, getReadiness } from './health.ts'
import { jobRoutes } from './jobs.ts'
import { metricsRoutes } from './metrics.ts'
import { modelRoutes } from './models.ts'
import { multimodalRoutes } from './multimodal.ts'
import { getOpenApiDocument } from './openapi.ts'
import { uploadRoutes } from './uploads.ts'
import { usageRoutes } from './usage.ts'
import { webhookEndpointRoutes } from './webhook-endpoints.ts'
import { workerProtocolRoutes } from './worker-protocol.ts'
import { workerTokenRoutes } from './worker-tokens.ts'
import { workerRoutes } from './workers.ts'

export function createRoutes({ config, embedding, jobs, nowMs, randomHex, log, wait }: AppDependencies): Route[] {
  const { catalog, workers, imageFetching } = embedding
  const deps: JobDependencies = { ...jobs, catalog, imageFetching, nowMs, randomHex, log }
  const meter = createUsageMeter(deps, wait)
  return [
    {
      method: 'POST',
      path: '/v1/embeddings',
      scopes: ['embed'],
      handle: (c) => createEmbeddings(c, embedding, meter),
    },
    ...multimodalRoutes(deps),
    ...jobRoutes(deps),
    ...batchRoutes(deps),
    ...fineTuningRoutes(deps),
    ...modelRoutes(deps),
    ...fileRoutes(deps),
    ...uploadRoutes(deps),
    ...workerProtocolRoutes(deps),
    ...workerTokenRoutes(deps),
    ...workerRoutes(deps),
    ...webhookEndpointRoutes({ ...deps, isOpen: !(config instanceof AppError) && config.apiKeys.length === 0 }),
    ...usageRoutes(deps),
    ...metricsRoutes(deps),
    { method: 'GET', path: '/livez', handle: getLiveness },
    { method: 'GET', path: '/readyz', handle: (c) => getReadiness(c, config, workers) },
    { method: 'GET', path: '/openapi.json', handle: getOpenApiDocument },
  ]
}

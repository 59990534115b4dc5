// Every route of the service: method, path, who may call it, and its handler.

import type { AppDependencies, Route } from './context.ts'
import { createEmbeddings } from './embeddings.ts'
import { getLiveness, getReadiness } from './health.ts'
import { getModel, listModels } from './models.ts'
import { getOpenApiDocument } from './openapi.ts'

const ANY_SCOPE = ['embed', 'classify', 'jobs'] as const

export function createRoutes({ config, embedding }: AppDependencies): Route[] {
  const { catalog, workers } = embedding
  return [
    { method: 'POST', path: '/v1/embeddings', scopes: ['embed'], handle: (c) => createEmbeddings(c, embedding) },
    { method: 'GET', path: '/v1/models', scopes: ANY_SCOPE, handle: (c) => listModels(c, catalog) },
    { method: 'GET', path: '/v1/models/:model', scopes: ANY_SCOPE, handle: (c) => getModel(c, catalog) },
    { method: 'GET', path: '/livez', handle: getLiveness },
    { method: 'GET', path: '/readyz', handle: (c) => getReadiness(c, config, workers) },
    { method: 'GET', path: '/openapi.json', handle: getOpenApiDocument },
  ]
}

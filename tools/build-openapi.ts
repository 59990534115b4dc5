// Writes contract/openapi.json, the API's description, from the zod schemas that parse its requests.
// Built ahead of time, so that the gateway spends no start-up time on it. Run it after a change of a schema or route.

import { writeFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { OpenAPIHono } from '@hono/zod-openapi'
import { format } from 'prettier'
import { EDGE_ROUTES } from './openapi/edge-routes.ts'
import { FILE_ROUTES } from './openapi/file-routes.ts'
import { ROUTES_OF_JOBS } from './openapi/job-routes.ts'
import { OPERATOR_ROUTES } from './openapi/operator-routes.ts'

const OUTPUT = resolve(import.meta.dirname, '../contract/openapi.json')

/** The document as the file holds it. */
export async function renderOpenApiDocument(): Promise<string> {
  const { openAPIRegistry, getOpenAPI31Document } = new OpenAPIHono()
  openAPIRegistry.registerComponent('securitySchemes', 'apiKey', {
    type: 'http',
    scheme: 'bearer',
    description: 'Not needed on loopback while no key is configured.',
  })
  openAPIRegistry.registerComponent('securitySchemes', 'workerToken', {
    type: 'http',
    scheme: 'bearer',
    description: 'A token of POST /v1/worker_tokens; API keys do not open what it opens.',
  })
  for (const route of [...EDGE_ROUTES, ...ROUTES_OF_JOBS, ...FILE_ROUTES, ...OPERATOR_ROUTES]) {
    openAPIRegistry.registerPath(route)
  }
  const document = getOpenAPI31Document({
    openapi: '3.1.0',
    info: {
      title: 'flava-edge',
      version: '1',
      description:
        'FLAVA from edge Workers and GPU workers: embeddings at the edge, multimodal work, batches and fine-tuning as jobs, ' +
        'with the requests and answers of OpenAI’s API where it has any.',
      license: { name: 'Apache-2.0' },
    },
  })
  return format(JSON.stringify(shareRefusals(document)), { parser: 'json', printWidth: 120 })
}

type OpenApiDocument = ReturnType<OpenAPIHono['getOpenAPI31Document']>
type SharedResponses = NonNullable<NonNullable<OpenApiDocument['components']>['responses']>

/** Refusals of one status are one component: half of the document is saved, which the gateway carries with it. */
function shareRefusals(document: OpenApiDocument): OpenApiDocument {
  const shared: SharedResponses = {}
  const operations = Object.values(document.paths ?? {}).flatMap(({ get, post, delete: remove }) => [get, post, remove])
  for (const operation of operations) {
    for (const [status, response] of Object.entries(operation?.responses ?? {})) {
      const name = `Refusal${status}`
      if (Number(status) < 400 || operation?.responses === undefined) continue
      // /readyz answers 503 with its own object.
      if (shared[name] !== undefined && JSON.stringify(shared[name]) !== JSON.stringify(response)) continue
      if (shared[name] === undefined && operation.security === undefined) continue
      shared[name] = response
      operation.responses[status] = { $ref: `#/components/responses/${name}` }
    }
  }
  return { ...document, components: { ...document.components, responses: shared } }
}

if (import.meta.main) writeFileSync(OUTPUT, await renderOpenApiDocument())

// GET /openapi.json: the document that tools/build-openapi.ts makes of the zod schemas, served as it was built.

import openApiDocument from '../../contract/openapi.json' with { type: 'json' }
import type { AppContext } from './context.ts'

export function getOpenApiDocument(c: AppContext): Response {
  return c.json(openApiDocument)
}

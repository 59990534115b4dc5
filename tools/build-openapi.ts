// Writes contract/openapi.json, the API's description, from the zod schemas that parse its requests.
// Built ahead of time, so that the gateway spends no start-up time on it. Run it after a change of a schema or route.

import { writeFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { OpenAPIHono, type RouteConfig } from '@hono/zod-openapi'
import { format } from 'prettier'
import { z } from 'zod'
import {
  EmbeddingsRequestSchema,
  EmbeddingsResponseSchema,
  QueryOptionsSchema,
} from '../src/handlers/embeddings-schema.ts'
import { LivenessSchema, ReadinessSchema } from '../src/handlers/health.ts'
import { ModelListSchema, ModelSchema } from '../src/handlers/models-schema.ts'

const OUTPUT = resolve(import.meta.dirname, '../contract/openapi.json')

const ErrorSchema = z
  .object({
    error: z.object({
      message: z.string(),
      type: z.string(),
      param: z.string().nullable().meta({ description: 'The request field it is about: input[3].image.' }),
      code: z.string().meta({ description: 'Stable; messages are not.' }),
    }),
  })
  .meta({ id: 'Error' })

const requestId = {
  'x-request-id': z.string().meta({ description: "The caller's, when it sent one, or a new one." }),
  'server-timing': z.string().meta({
    description: 'Milliseconds by stage. In production clocks move at Worker-to-Worker calls only.',
  }),
}
const identity = {
  'x-flava-space': z.string().meta({ description: 'As x_flava.space.' }),
  'x-flava-placement': z.string().meta({ description: 'As x_flava.placement: route; reason.' }),
}
const retryAfter = { 'retry-after': z.string().meta({ description: 'Seconds.' }) }

const ERRORS = {
  400: 'The request is wrong; param names the field.',
  401: 'The API key is missing or wrong.',
  403: 'The API key lacks the scope.',
  404: 'No such model.',
  413: 'The body, a picture, the work or the answer is too large.',
  415: 'The body or a picture is of a kind that is not read.',
  422: 'A picture is damaged, or its server did not deliver it.',
  500: 'A fault of the service.',
  503: 'Busy, or not ready.',
} as const

type ErrorStatus = keyof typeof ERRORS

const image = { schema: z.string().meta({ format: 'binary' }) }

const ROUTES: RouteConfig[] = [
  {
    method: 'post',
    path: '/v1/embeddings',
    operationId: 'createEmbeddings',
    summary: 'Vectors of texts and pictures in one space',
    security: [{ apiKey: [] }],
    request: {
      query: QueryOptionsSchema.meta({ description: 'Read beside a picture body only.' }),
      body: {
        required: true,
        content: {
          'application/json': { schema: EmbeddingsRequestSchema },
          'image/png': image,
          'image/jpeg': image,
          'image/webp': image,
        },
      },
    },
    responses: {
      200: {
        description: 'One vector an item, in order.',
        headers: z.object({ ...requestId, ...identity }),
        content: { 'application/json': { schema: EmbeddingsResponseSchema } },
      },
      ...errors(400, 401, 403, 404, 413, 415, 422, 500, 503),
    },
  },
  {
    method: 'get',
    path: '/v1/models',
    operationId: 'listModels',
    summary: 'The models served',
    security: [{ apiKey: [] }],
    responses: { ...ok('The models.', ModelListSchema), ...errors(401, 403, 500, 503) },
  },
  {
    method: 'get',
    path: '/v1/models/{model}',
    operationId: 'getModel',
    summary: 'One model: geometry, quantization, space, hashes, licence',
    security: [{ apiKey: [] }],
    request: { params: z.object({ model: z.string() }) },
    responses: { ...ok('The model.', ModelSchema), ...errors(401, 403, 404, 500, 503) },
  },
  {
    method: 'get',
    path: '/livez',
    operationId: 'getLiveness',
    summary: 'Whether the gateway runs',
    responses: ok('It runs.', LivenessSchema),
  },
  {
    method: 'get',
    path: '/readyz',
    operationId: 'getReadiness',
    summary: 'Whether every Worker can answer now',
    responses: {
      ...ok('Ready.', ReadinessSchema),
      503: { description: 'Not ready.', content: { 'application/json': { schema: ReadinessSchema } } },
    },
  },
  {
    method: 'get',
    path: '/openapi.json',
    operationId: 'getOpenApiDocument',
    summary: 'This document',
    responses: ok('OpenAPI 3.1.', z.record(z.string(), z.unknown())),
  },
]

/** The document as the file holds it. */
export async function renderOpenApiDocument(): Promise<string> {
  const { openAPIRegistry, getOpenAPI31Document } = new OpenAPIHono()
  openAPIRegistry.registerComponent('securitySchemes', 'apiKey', {
    type: 'http',
    scheme: 'bearer',
    description: 'Not needed on loopback while no key is configured.',
  })
  for (const route of ROUTES) openAPIRegistry.registerPath(route)
  const document = getOpenAPI31Document({
    openapi: '3.1.0',
    info: {
      title: 'flava-edge',
      version: '1',
      description: 'FLAVA text and image embeddings from edge Workers, with the request and answer of OpenAI’s API.',
      license: { name: 'Apache-2.0' },
    },
  })
  return format(JSON.stringify(document), { parser: 'json', printWidth: 120 })
}

function ok(description: string, schema: z.ZodType): RouteConfig['responses'] {
  return { 200: { description, headers: z.object(requestId), content: { 'application/json': { schema } } } }
}

function errors(...statuses: ErrorStatus[]): RouteConfig['responses'] {
  return Object.fromEntries(
    statuses.map((status) => [
      status,
      {
        description: ERRORS[status],
        headers: z.object(status === 503 ? { ...requestId, ...retryAfter } : requestId),
        content: { 'application/json': { schema: ErrorSchema } },
      },
    ]),
  )
}

if (import.meta.main) writeFileSync(OUTPUT, await renderOpenApiDocument())

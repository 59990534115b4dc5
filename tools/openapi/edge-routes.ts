// What the edge answers by itself: embeddings, models, health, this document.

import type { RouteConfig } from '@hono/zod-openapi'
import { z } from 'zod'
import {
  EmbeddingsRequestSchema,
  EmbeddingsResponseSchema,
  QueryOptionsSchema,
} from '../../src/handlers/embeddings-schema.ts'
import { LivenessSchema, ReadinessSchema } from '../../src/handlers/health.ts'
import {
  FineTunedModelSchema,
  ModelDeletedSchema,
  ModelListSchema,
  ModelSchema,
} from '../../src/handlers/models-schema.ts'
import { errors, requestId, toRoute } from './operations.ts'

const identity = {
  'x-flava-space': z.string().meta({ description: 'As x_flava.space.' }),
  'x-flava-placement': z.string().meta({ description: 'As x_flava.placement: route; reason.' }),
}
const image = { schema: z.string().meta({ format: 'binary' }) }

export const EDGE_ROUTES: RouteConfig[] = [
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
  toRoute({
    method: 'get',
    path: '/v1/models',
    id: 'listModels',
    summary: 'The models served, and those that the project’s jobs have made',
    key: 'apiKey',
    answers: ModelListSchema,
    description: 'The models.',
  }),
  toRoute({
    method: 'get',
    path: '/v1/models/{model}',
    id: 'getModel',
    summary: 'One model: geometry, quantization, space, hashes, licence',
    key: 'apiKey',
    answers: z.union([ModelSchema, FineTunedModelSchema]),
    description: 'The model.',
    refusals: [404],
  }),
  toRoute({
    method: 'delete',
    path: '/v1/models/{model}',
    id: 'deleteModel',
    summary: 'Deletes a fine-tuned model',
    key: 'apiKey',
    answers: ModelDeletedSchema,
    description: 'It is gone.',
    refusals: [404, 409],
  }),
  toRoute({
    method: 'get',
    path: '/livez',
    id: 'getLiveness',
    summary: 'Whether the gateway runs',
    answers: LivenessSchema,
    description: 'It runs.',
  }),
  toRoute({
    method: 'get',
    path: '/readyz',
    id: 'getReadiness',
    summary: 'Whether every Worker can answer now',
    answers: ReadinessSchema,
    description: 'Ready.',
    more: { 503: { description: 'Not ready.', content: { 'application/json': { schema: ReadinessSchema } } } },
  }),
  toRoute({
    method: 'get',
    path: '/openapi.json',
    id: 'getOpenApiDocument',
    summary: 'This document',
    answers: z.record(z.string(), z.unknown()),
    description: 'OpenAPI 3.1.',
  }),
]

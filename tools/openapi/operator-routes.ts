// Workers and what they call, their tokens, webhooks, usage.

import type { RouteConfig } from '@hono/zod-openapi'
import type { z } from 'zod'
import { UsageQuerySchema, UsageSchema } from '../../src/handlers/usage.ts'
import {
  WebhookEndpointDeletedSchema,
  WebhookEndpointListSchema,
  WebhookEndpointRequestSchema,
  WebhookEndpointSchema,
} from '../../src/handlers/webhook-endpoints.ts'
import { WorkerTokenListSchema, WorkerTokenRequestSchema, WorkerTokenSchema } from '../../src/handlers/worker-tokens.ts'
import { WorkerListSchema } from '../../src/handlers/workers.ts'
import {
  CompleteRequestSchema,
  CompleteResponseSchema,
  FailRequestSchema,
  FailResponseSchema,
  HeartbeatRequestSchema,
  HeartbeatResponseSchema,
  LeaseRequestSchema,
  LeaseResponseSchema,
  UrlsRequestSchema,
  UrlsResponseSchema,
} from '../../src/jobs/worker-protocol.ts'
import { toRoute } from './operations.ts'

function workerCall(name: string, summary: string, request: z.ZodType, response: z.ZodType): RouteConfig {
  return toRoute({
    method: 'post',
    path: `/v1/worker/${name}`,
    id: `worker${name[0]?.toUpperCase()}${name.slice(1)}`,
    summary: `For GPU workers: ${summary}`,
    key: 'workerToken',
    body: request,
    answers: response,
    description: 'As contract/worker-protocol.schema.json has it.',
    refusals: [400, 409, 413, ...(name === 'complete' ? [422 as const] : [])],
  })
}

export const OPERATOR_ROUTES: RouteConfig[] = [
  toRoute({
    method: 'get',
    path: '/v1/workers',
    id: 'listWorkers',
    summary: 'The GPU workers, what they can do and when they were last heard of',
    key: 'apiKey',
    answers: WorkerListSchema,
    description: 'The workers.',
  }),
  toRoute({
    method: 'post',
    path: '/v1/worker_tokens',
    id: 'createWorkerToken',
    summary: 'A token for a GPU worker; needs the scope admin',
    key: 'apiKey',
    body: WorkerTokenRequestSchema,
    answers: WorkerTokenSchema,
    description: 'With the token, this once.',
    refusals: [400],
  }),
  toRoute({
    method: 'get',
    path: '/v1/worker_tokens',
    id: 'listWorkerTokens',
    summary: 'The worker tokens; needs the scope admin',
    key: 'apiKey',
    answers: WorkerTokenListSchema,
    description: 'Without the tokens themselves.',
  }),
  toRoute({
    method: 'delete',
    path: '/v1/worker_tokens/{token}',
    id: 'revokeWorkerToken',
    summary: 'Revokes a worker token; needs the scope admin',
    key: 'apiKey',
    answers: WorkerTokenSchema,
    description: 'Revoked, as of now.',
    refusals: [404],
  }),
  toRoute({
    method: 'post',
    path: '/v1/webhook_endpoints',
    id: 'createWebhookEndpoint',
    summary: 'Where to tell of jobs that have ended, signed as Standard Webhooks prescribes',
    key: 'apiKey',
    body: WebhookEndpointRequestSchema,
    answers: WebhookEndpointSchema,
    description: 'With the secret, this once.',
    refusals: [400],
  }),
  toRoute({
    method: 'get',
    path: '/v1/webhook_endpoints',
    id: 'listWebhookEndpoints',
    summary: 'The project’s webhook endpoints',
    key: 'apiKey',
    answers: WebhookEndpointListSchema,
    description: 'Without their secrets.',
  }),
  toRoute({
    method: 'delete',
    path: '/v1/webhook_endpoints/{endpoint}',
    id: 'deleteWebhookEndpoint',
    summary: 'Forgets a webhook endpoint',
    key: 'apiKey',
    answers: WebhookEndpointDeletedSchema,
    description: 'It is gone.',
    refusals: [404],
  }),
  toRoute({
    method: 'get',
    path: '/v1/usage',
    id: 'getUsage',
    summary: 'What the project has used, by day',
    key: 'apiKey',
    query: UsageQuerySchema,
    answers: UsageSchema,
    description: 'Requests, tokens, images, GPU seconds, jobs.',
    refusals: [400],
  }),
  workerCall('lease', 'jobs to do, waiting for some', LeaseRequestSchema, LeaseResponseSchema),
  workerCall(
    'heartbeat',
    'keeps leases, tells progress, hears of cancel and pause',
    HeartbeatRequestSchema,
    HeartbeatResponseSchema,
  ),
  workerCall('urls', 'presigned URLs of a held job’s objects', UrlsRequestSchema, UrlsResponseSchema),
  workerCall('complete', 'ends a job with its result', CompleteRequestSchema, CompleteResponseSchema),
  workerCall('fail', 'ends an attempt without a result', FailRequestSchema, FailResponseSchema),
]

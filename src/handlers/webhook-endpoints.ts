// /v1/webhook_endpoints: where a project is told of its jobs' ends, as Standard Webhooks prescribes.

import { z } from 'zod'
import type { WebhookEndpoint } from '../jobs/ports.ts'
import { WEBHOOK_EVENT_TYPES } from '../jobs/webhook-events.ts'
import type { JobDependencies } from '../services/job-dependencies.ts'
import { createWebhookEndpoint } from '../services/webhook-endpoints.ts'
import type { AppContext, Route } from './context.ts'
import { parseField } from './parse-field.ts'
import { readJson } from './request-body.ts'
import { toSeconds } from './unix-seconds.ts'

interface WebhookDependencies extends Pick<JobDependencies, 'broker' | 'nowMs' | 'randomHex'> {
  /** A service that asks for no keys, and so answers this machine alone, may tell this machine. */
  isOpen: boolean
}

const SCOPES = ['jobs'] as const

export const WebhookEndpointRequestSchema = z
  .object({
    url: z
      .string()
      .min(1)
      .max(2048)
      .meta({ description: 'https at a public name; on a development machine also itself.' }),
    events: z.array(z.enum(WEBHOOK_EVENT_TYPES)).nullish().meta({ description: 'Default, and when empty: all.' }),
  })
  .meta({ id: 'WebhookEndpointRequest' })

export const WebhookEndpointSchema = z
  .object({
    id: z.string(),
    object: z.literal('webhook_endpoint'),
    url: z.string(),
    events: z.array(z.string()),
    created_at: z.int(),
    disabled_at: z.int().nullable().meta({ description: 'When it said that it is gone, and was told no more.' }),
    secret: z.string().optional().meta({ description: 'whsec_…; in the answer that makes it, and never again.' }),
  })
  .meta({ id: 'WebhookEndpoint' })

export const WebhookEndpointListSchema = z
  .object({ object: z.literal('list'), data: z.array(WebhookEndpointSchema) })
  .meta({ id: 'WebhookEndpointList' })

export const WebhookEndpointDeletedSchema = z
  .object({ id: z.string(), object: z.literal('webhook_endpoint'), deleted: z.literal(true) })
  .meta({ id: 'WebhookEndpointDeleted' })

export function webhookEndpointRoutes(deps: WebhookDependencies): Route[] {
  const path = '/v1/webhook_endpoints'
  return [
    { method: 'POST', path, scopes: SCOPES, handle: (c) => postEndpoint(c, deps) },
    { method: 'GET', path, scopes: SCOPES, handle: (c) => listEndpoints(c, deps) },
    { method: 'DELETE', path: `${path}/:endpoint`, scopes: SCOPES, handle: (c) => deleteEndpoint(c, deps) },
  ]
}

async function postEndpoint(c: AppContext, deps: WebhookDependencies): Promise<Response> {
  const { url, events } = parseField(WebhookEndpointRequestSchema, await readJson(c), '')
  const { endpoint, secret } = await createWebhookEndpoint(deps, c.var.project, {
    url,
    events: events ?? [],
    allowLoopback: deps.isOpen,
  })
  c.header('cache-control', 'no-store')
  return c.json({ ...toWire(endpoint), secret })
}

async function listEndpoints(c: AppContext, { broker }: WebhookDependencies): Promise<Response> {
  return c.json({ object: 'list', data: (await broker.listWebhookEndpoints(c.var.project)).map(toWire) })
}

/** @throws ResourceNotFoundError also for another project's */
async function deleteEndpoint(c: AppContext, { broker }: WebhookDependencies): Promise<Response> {
  const id = c.req.param('endpoint') ?? ''
  await broker.deleteWebhookEndpoint(c.var.project, id)
  return c.json({ id, object: 'webhook_endpoint', deleted: true })
}

function toWire(endpoint: WebhookEndpoint): z.infer<typeof WebhookEndpointSchema> {
  const { id, url, events, createdAtMs, disabledAtMs } = endpoint
  return {
    id,
    object: 'webhook_endpoint',
    url,
    events,
    created_at: toSeconds(createdAtMs),
    disabled_at: toSeconds(disabledAtMs),
  }
}

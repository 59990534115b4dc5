// Where a project wants to be told of its jobs' ends. Deliveries are signed with a secret that is shown once.

import { Buffer } from 'node:buffer'
import { InvalidInputError } from '../errors.ts'
import { newId } from '../jobs/ids.ts'
import type { WebhookEndpoint } from '../jobs/ports.ts'
import type { WebhookEventType } from '../jobs/webhook-events.ts'
import { webhookUrlProblem } from '../jobs/webhook-url.ts'
import type { JobDependencies } from './job-dependencies.ts'

const MAX_ENDPOINTS = 16
/** Standard Webhooks: `whsec_` and the base64 of 24 to 64 bytes. */
const SECRET_PREFIX = 'whsec_'
const SECRET_BYTES = 32

export interface NewWebhookEndpoint {
  url: string
  /** All when empty. */
  events: WebhookEventType[]
  /** A development machine may be told on itself, without TLS. */
  allowLoopback: boolean
}

/** @throws InvalidInputError for a URL that is not called, and when the project has as many as it may */
export async function createWebhookEndpoint(
  { broker, nowMs, randomHex }: Pick<JobDependencies, 'broker' | 'nowMs' | 'randomHex'>,
  project: string,
  { url, events, allowLoopback }: NewWebhookEndpoint,
): Promise<{ endpoint: WebhookEndpoint; secret: string }> {
  const target = checkUrl(url, allowLoopback)
  const existing = await broker.listWebhookEndpoints(project)
  if (existing.length >= MAX_ENDPOINTS) {
    throw new InvalidInputError(`expected at most ${MAX_ENDPOINTS} webhook endpoints in a project; delete one first`)
  }
  const secret = SECRET_PREFIX + Buffer.from(randomHex(2 * SECRET_BYTES), 'hex').toString('base64')
  const endpoint = await broker.createWebhookEndpoint(
    {
      id: newId('webhookEndpoint', randomHex),
      project,
      url: target.href,
      events: [...new Set(events)],
      createdAtMs: nowMs(),
      disabledAtMs: null,
    },
    secret,
  )
  return { endpoint, secret }
}

function checkUrl(url: string, allowLoopback: boolean): URL {
  const problem = webhookUrlProblem(url, allowLoopback)
  if (problem !== undefined) throw new InvalidInputError(`url: ${problem}`, { param: 'url' })
  return new URL(url)
}

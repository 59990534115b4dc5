// Webhook endpoints and the outbox: what is to be told to whom is written in the transaction that ends the job, so a
// delivery is neither lost nor told of something that did not happen.

import { ResourceNotFoundError } from '../../jobs/errors.ts'
import { newId } from '../../jobs/ids.ts'
import type { WebhookEndpoint } from '../../jobs/ports.ts'
import { webhookEventOf } from '../../jobs/webhook-events.ts'
import type { JobRow } from './job-rows.ts'
import { firstRow, readJson, rows, run, type BrokerStore } from './store.ts'

type EndpointRow = {
  id: string
  project: string
  url: string
  events: string
  created_ms: number
  disabled_ms: number | null
}

/** One message to one endpoint. */
export interface Delivery {
  ordinal: number
  endpoint: string
  url: string
  secret: string
  event: string
  body: string
  attempts: number
}

export function createEndpoint(store: BrokerStore, endpoint: WebhookEndpoint, secret: string): WebhookEndpoint {
  run(
    store,
    'INSERT INTO webhook_endpoints (id, project, url, secret, events, created_ms) VALUES (?, ?, ?, ?, ?, ?)',
    endpoint.id,
    endpoint.project,
    endpoint.url,
    secret,
    JSON.stringify(endpoint.events),
    endpoint.createdAtMs,
  )
  return endpoint
}

export function listEndpoints(store: BrokerStore, project: string): WebhookEndpoint[] {
  return rows<EndpointRow>(
    store,
    'SELECT id, project, url, events, created_ms, disabled_ms FROM webhook_endpoints WHERE project = ? ORDER BY ordinal',
    project,
  ).map((row) => ({
    id: row.id,
    project: row.project,
    url: row.url,
    events: readJson(row.events),
    createdAtMs: row.created_ms,
    disabledAtMs: row.disabled_ms,
  }))
}

/** @throws ResourceNotFoundError */
export function deleteEndpoint(store: BrokerStore, project: string, id: string): void {
  const row = firstRow(store, 'DELETE FROM webhook_endpoints WHERE id = ? AND project = ? RETURNING id', id, project)
  if (row === undefined) throw new ResourceNotFoundError('no such webhook endpoint')
  run(store, 'DELETE FROM webhook_outbox WHERE endpoint = ?', id)
}

/** The endpoint said that it wants no more. */
export function disableEndpoint(store: BrokerStore, id: string): void {
  run(store, 'UPDATE webhook_endpoints SET disabled_ms = ? WHERE id = ?', store.now(), id)
  run(store, 'DELETE FROM webhook_outbox WHERE endpoint = ?', id)
}

/** Tells the project's endpoints that a job has ended. */
export function tellEnd(store: BrokerStore, { id, project, kind, state }: JobRow): void {
  const type = webhookEventOf(kind, state)
  if (type === undefined) return
  const endpoints = rows<{ id: string; events: string }>(
    store,
    'SELECT id, events FROM webhook_endpoints WHERE project = ? AND disabled_ms IS NULL',
    project,
  )
  if (endpoints.length === 0) return
  const now = store.now()
  const event = newId('event', store.randomHex)
  const body = JSON.stringify({
    id: event,
    object: 'event',
    created_at: Math.floor(now / 1000),
    type,
    data: { id },
  })
  for (const endpoint of endpoints) {
    const wanted: string[] = readJson(endpoint.events)
    if (wanted.length > 0 && !wanted.includes(type)) continue
    run(
      store,
      'INSERT INTO webhook_outbox (endpoint, event, body, created_ms, next_ms) VALUES (?, ?, ?, ?, ?)',
      endpoint.id,
      event,
      body,
      now,
      now,
    )
  }
}

/** Takes deliveries that are due; whoever takes them has until `holdMs` from now to say how it went. */
export function takeDeliveries(store: BrokerStore, limit: number, holdMs: number): Delivery[] {
  const now = store.now()
  const due = rows<{ ordinal: number; endpoint: string; event: string; body: string; attempts: number }>(
    store,
    `UPDATE webhook_outbox SET next_ms = ?, attempts = attempts + 1
     WHERE ordinal IN (SELECT ordinal FROM webhook_outbox WHERE next_ms <= ? ORDER BY next_ms, ordinal LIMIT ?)
     RETURNING ordinal, endpoint, event, body, attempts`,
    now + holdMs,
    now,
    limit,
  )
  return due.flatMap((row) => {
    const endpoint = firstRow<{ url: string; secret: string }>(
      store,
      'SELECT url, secret FROM webhook_endpoints WHERE id = ?',
      row.endpoint,
    )
    return endpoint === undefined ? [] : [{ ...row, ...endpoint }]
  })
}

export function deliveryIsOver(store: BrokerStore, ordinal: number): void {
  run(store, 'DELETE FROM webhook_outbox WHERE ordinal = ?', ordinal)
}

export function deliverAgain(store: BrokerStore, ordinal: number, atMs: number): void {
  run(store, 'UPDATE webhook_outbox SET next_ms = ? WHERE ordinal = ?', atMs, ordinal)
}

export function nextDeliveryMs(store: BrokerStore): number | null {
  return firstRow<{ next: number | null }>(store, 'SELECT min(next_ms) next FROM webhook_outbox')?.next ?? null
}

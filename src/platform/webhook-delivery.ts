// Sends one webhook as Standard Webhooks prescribes (https://www.standardwebhooks.com): signed with HMAC-SHA256 over
// `id.timestamp.body`, redirects not followed, the answer's body not read.

import { webhookUrlProblem } from '../jobs/webhook-url.ts'
import type { Delivery } from './broker/webhook-rows.ts'

/** The specification advises 15 to 30 s. */
const TIMEOUT_MS = 15_000
/** Longer than a day is no advice any more. */
const MAX_RETRY_AFTER_MS = 86_400_000

export type DeliveryOutcome =
  | { outcome: 'delivered' }
  // The endpoint wants no more (410), or is one that this service does not call.
  | { outcome: 'gone' }
  | { outcome: 'failed'; retryAfterMs: number | null }

export async function deliverWebhook(
  { url, secret, event, body }: Pick<Delivery, 'url' | 'secret' | 'event' | 'body'>,
  { nowMs, allowLoopback }: { nowMs: number; allowLoopback: boolean },
): Promise<DeliveryOutcome> {
  if (webhookUrlProblem(url, allowLoopback) !== undefined) return { outcome: 'gone' }
  const timestamp = Math.floor(nowMs / 1000)
  try {
    const response = await fetch(url, {
      method: 'POST',
      redirect: 'manual',
      signal: AbortSignal.timeout(TIMEOUT_MS),
      headers: {
        'content-type': 'application/json',
        'user-agent': 'flava-edge',
        'webhook-id': event,
        'webhook-timestamp': String(timestamp),
        'webhook-signature': await signWebhook(secret, `${event}.${timestamp}.${body}`),
      },
      body,
    })
    await response.body?.cancel()
    if (response.ok) return { outcome: 'delivered' }
    if (response.status === 410) return { outcome: 'gone' }
    return { outcome: 'failed', retryAfterMs: retryAfterMs(response.headers.get('retry-after'), nowMs) }
  } catch {
    // Not reached, or no answer in time: either way it is tried again.
    return { outcome: 'failed', retryAfterMs: null }
  }
}

/** @param secret `whsec_` and base64 */
async function signWebhook(secret: string, content: string): Promise<string> {
  const bytes = Uint8Array.from(atob(secret.replace(/^whsec_/, '')), (character) => character.charCodeAt(0))
  const key = await crypto.subtle.importKey('raw', bytes, { name: 'HMAC', hash: 'SHA-256' }, false, ['sign'])
  const signature = new Uint8Array(await crypto.subtle.sign('HMAC', key, new TextEncoder().encode(content)))
  return `v1,${btoa(String.fromCharCode(...signature))}`
}

/** Seconds or a date, as HTTP has it; null for neither. */
function retryAfterMs(header: string | null, nowMs: number): number | null {
  if (header === null) return null
  const ms = /^\d+$/.test(header.trim()) ? Number(header) * 1000 : Date.parse(header) - nowMs
  return Number.isFinite(ms) ? Math.min(Math.max(0, ms), MAX_RETRY_AFTER_MS) : null
}

// Empties the webhook outbox: takes what is due, sends it, writes down how it went. Deliveries that are taken and never
// settled, because the object was restarted, come due again by themselves.

import { backoffMs, WEBHOOK_BACKOFF } from '../../jobs/backoff.ts'
import { deliverWebhook } from '../webhook-delivery.ts'
import type { BrokerStore } from './store.ts'
import { deliverAgain, deliveryIsOver, disableEndpoint, takeDeliveries, type Delivery } from './webhook-rows.ts'

/** Sent side by side: one slow endpoint must not hold up the others. */
const MAX_TOGETHER = 16
/** Longer than one delivery may take. */
const HOLD_MS = 60_000
/** With the backoff's steps this is more than a day after the first. */
const MAX_ATTEMPTS = 16

export interface Outbox {
  /** Sends what is due, beside what is being sent already. */
  flush(): Promise<void>
}

export function createOutbox(store: BrokerStore): Outbox {
  let lines = 0
  const sendInLine = async (): Promise<void> => {
    lines += 1
    try {
      for (let due = takeDue(store); due !== undefined; due = takeDue(store)) await deliver(store, due)
    } finally {
      lines -= 1
    }
  }
  return {
    async flush() {
      const free = Array.from({ length: MAX_TOGETHER - lines })
      await Promise.all(free.map(sendInLine))
    },
  }
}

function takeDue(store: BrokerStore): Delivery | undefined {
  return store.transaction(() => takeDeliveries(store, 1, HOLD_MS))[0]
}

async function deliver(store: BrokerStore, delivery: Delivery): Promise<void> {
  const { ordinal, endpoint, attempts } = delivery
  const { allowLoopbackWebhooks: allowLoopback } = store.settings
  const result = await deliverWebhook(delivery, { nowMs: store.now(), allowLoopback })
  store.transaction(() => {
    switch (result.outcome) {
      case 'delivered':
        deliveryIsOver(store, ordinal)
        return
      case 'gone':
        disableEndpoint(store, endpoint)
        return
      case 'failed':
        if (attempts >= MAX_ATTEMPTS) deliveryIsOver(store, ordinal)
        else {
          const waitMs = Math.max(backoffMs(attempts, WEBHOOK_BACKOFF, store.random()), result.retryAfterMs ?? 0)
          deliverAgain(store, ordinal, store.now() + waitMs)
        }
    }
  })
}

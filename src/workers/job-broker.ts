// The Durable Object that keeps all jobs: its storage, its alarm, and one RPC method behind which the broker is.

import { DurableObject } from 'cloudflare:workers'
import type { JobBroker } from '../jobs/ports.ts'
import { createBroker, type BrokerParts } from '../platform/broker/broker.ts'
import { nextDueMs, settleDueJobs } from '../platform/broker/due-jobs.ts'
import { offerOf } from '../platform/broker/job-rows.ts'
import { boundLeases } from '../platform/broker/lease-rows.ts'
import { createLeaseWaiters } from '../platform/broker/lease-waiters.ts'
import { createOutbox, type Outbox } from '../platform/broker/outbox.ts'
import { migrate } from '../platform/broker/schema.ts'
import type { BrokerStore } from '../platform/broker/store.ts'
import { createWaiters } from '../platform/broker/waiters.ts'
import { nextDeliveryMs } from '../platform/broker/webhook-rows.ts'
import { loadWorkers } from '../platform/broker/worker-rows.ts'
import { cloudflareQueue, type JobMessage } from '../platform/job-queue.ts'
import { toRpcResult, type RpcResult } from '../services/rpc-result.ts'
import { isBrokerMethod } from './broker-client.ts'
import { readBrokerSettings, type BrokerVars } from './broker-settings.ts'
import { randomHex } from './random-hex.ts'

export interface BrokerEnv extends BrokerVars {
  JOB_QUEUE: Queue<JobMessage>
}

export class JobBrokerObject extends DurableObject<BrokerEnv> {
  readonly #parts: BrokerParts
  readonly #broker: JobBroker
  readonly #outbox: Outbox
  /** What the alarm is set to; undefined when it is not known, null when to nothing. */
  #alarmAtMs: number | null | undefined
  /** What the clock said last. Before this start nobody knows, so the first look counts as a fall. */
  #seenMs = Number.POSITIVE_INFINITY

  constructor(ctx: DurableObjectState, env: BrokerEnv) {
    super(ctx, env)
    migrate(ctx.storage)
    const news = createWaiters<string>()
    const idle = createLeaseWaiters()
    const store: BrokerStore = {
      sql: ctx.storage.sql,
      settings: readBrokerSettings(env),
      now: () => this.now(),
      random: Math.random,
      randomHex,
      transaction: (run) => ctx.storage.transactionSync(run),
      announce: (job) => news.wake(job),
      offer: (job) => {
        if (idle.size > 0) offerOf(store, idle, job)
      },
    }
    this.#parts = { store, news, idle, known: loadWorkers(store) }
    this.#broker = createBroker(this.#parts)
    this.#outbox = createOutbox(store)
  }

  /** A method of the JobBroker port by its name. */
  async call(method: string, args: unknown[]): Promise<RpcResult<unknown>> {
    this.#watchClock()
    const answer = await toRpcResult(() => this.#run(method, args), logError)
    await this.#setAlarm()
    return answer
  }

  override async alarm(): Promise<void> {
    this.#alarmAtMs = undefined
    this.#watchClock()
    const { store } = this.#parts
    store.transaction(() => settleDueJobs(store))
    await this.#sendAgain()
    await this.#setAlarm()
  }

  /** Milliseconds since 1970; tests move it. */
  protected now(): number {
    return Date.now()
  }

  #watchClock(): void {
    const now = this.now()
    if (now < this.#seenMs) boundLeases(this.#parts.store)
    this.#seenMs = now
  }

  /** What was stored and never came through the Queue. */
  async #sendAgain(): Promise<void> {
    try {
      const unqueued = await this.#broker.takeUnqueued()
      if (unqueued.length > 0) await cloudflareQueue(this.env.JOB_QUEUE).send(unqueued)
    } catch (error) {
      // They come due again; an alarm that throws too often would never ring again.
      logError(error)
    }
  }

  async #sendWebhooks(): Promise<void> {
    await this.#outbox.flush()
    await this.#setAlarm()
  }

  #run(method: string, args: unknown[]): Promise<unknown> {
    if (!isBrokerMethod(method)) throw new Error(`the job broker has no method ${method}`)
    const run: (...args: never[]) => Promise<unknown> = this.#broker[method]
    // The client of this object is typed by the same port.
    return run(...(args as never[]))
  }

  async #setAlarm(): Promise<void> {
    const { store } = this.#parts
    const nextDelivery = nextDeliveryMs(store)
    // Not awaited: neither a caller nor a lease that expires waits for somebody else's server.
    if (nextDelivery !== null && nextDelivery <= store.now()) this.ctx.waitUntil(this.#sendWebhooks())
    const due = [nextDueMs(store), nextDelivery].filter((ms) => ms !== null)
    if (due.length === 0) return
    const atMs = Math.min(...due)
    if (this.#alarmAtMs === undefined) this.#alarmAtMs = await this.ctx.storage.getAlarm()
    if (this.#alarmAtMs !== null && this.#alarmAtMs !== undefined && this.#alarmAtMs <= atMs) return
    this.#alarmAtMs = atMs
    // The alarm rings by the real clock.
    await this.ctx.storage.setAlarm(Date.now() + Math.max(0, atMs - this.now()))
  }
}

function logError(error: unknown): void {
  const text = error instanceof Error ? (error.stack ?? error.message) : String(error)
  console.log(JSON.stringify({ event: 'error', worker: 'job-broker', error: text }))
}

// The broker's Durable Object with a clock that tests can move and a view of its tables, in a Worker of its own.

import { JobBrokerObject } from '../../src/workers/job-broker.ts'

export class TestBrokerObject extends JobBrokerObject {
  #aheadMs = 0

  /** Moves the clock and rings the alarm, as it would have rung by then. */
  async advance(ms: number): Promise<void> {
    this.#aheadMs += ms
    await this.alarm()
  }

  clock(): number {
    return this.now()
  }

  rows(query: string): Record<string, SqlStorageValue>[] {
    return this.ctx.storage.sql.exec(query).toArray()
  }

  /** Puts another database in the place of this one; the next start of the object finds it. */
  load(statements: string): void {
    const { sql } = this.ctx.storage
    const tables = sql.exec<{ name: string }>(
      `SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT GLOB '_cf_*' AND name NOT GLOB 'sqlite_*'`,
    )
    for (const { name } of tables.toArray()) sql.exec(`DROP TABLE ${name}`)
    sql.exec(statements)
  }

  protected override now(): number {
    return Date.now() + this.#aheadMs
  }
}

interface Env {
  JOB_BROKER: DurableObjectNamespace<TestBrokerObject>
  DELIVERED: R2Bucket
}

/** A call of the object: plain HTTP is far quicker than miniflare's own way to a stub. */
interface Call {
  name: 'call' | 'advance' | 'clock' | 'rows' | 'load'
  args: unknown[]
}

// oxlint-disable-next-line import/no-default-export -- the runtime finds a Worker’s handlers there
export default {
  async fetch(request, env) {
    const { name, args }: Call = await request.json()
    const stub = env.JOB_BROKER.getByName('jobs')
    const answer: unknown = await Reflect.apply(stub[name], stub, args)
    return Response.json({ answer })
  },
  // Nothing is marked here: tests decide when, and whether, a message arrives.
  async queue({ messages }, { DELIVERED }) {
    for (const { body } of messages) await DELIVERED.put(crypto.randomUUID(), JSON.stringify(body))
  },
} satisfies ExportedHandler<Env>

// What every part of the broker works on: the object's SQLite, a clock, chance, and whom to tell of changes.

/** How long things are kept, and how soon they are missed. */
export interface BrokerSettings {
  /** Ended batches and fine-tuning jobs with their events and checkpoints. */
  jobRetentionMs: number
  /** Ended interactive jobs: many, each asked for once, soon after its end. */
  interactiveRetentionMs: number
  /** Finished idempotency keys. */
  idempotencyRetentionMs: number
  /** A request that began under a key and was not heard of for this long has broken off. */
  idempotencyLockMs: number
  /** Stored and not delivered by the Queue for this long: sent again. */
  resendAfterMs: number
  /** A worker that was not heard of for this long is not connected. */
  workerGoneMs: number
  /** Objects stay this long after nothing names them: what is being read or still being written settles. */
  trashDelayMs: number
  /** Webhooks to http on this machine, which a service that is open on loopback may be asked for. */
  allowLoopbackWebhooks: boolean
}

export interface BrokerStore {
  sql: SqlStorage
  settings: BrokerSettings
  now: () => number
  /** From 0 to 1, exclusive. */
  random: () => number
  randomHex: (digits: number) => string
  /** All or nothing; nothing in it may be awaited. */
  transaction: <T>(run: () => T) => T
  /** Tells those who wait for news of a job. */
  announce: (jobId: string) => void
  /** A job may be leased from now on. */
  offer: (jobId: string) => void
}

type Binding = string | number | null

/** Rows of a query; `Row` is what its columns are, which the query itself must see to. */
export function rows<Row extends Record<string, SqlStorageValue>>(
  { sql }: BrokerStore,
  query: string,
  ...bindings: Binding[]
): Row[] {
  return sql.exec<Row>(query, ...bindings).toArray()
}

// oxlint-disable-next-line typescript/no-unnecessary-type-parameters -- as with SqlStorage.exec, the query says what it is
export function firstRow<Row extends Record<string, SqlStorageValue>>(
  store: BrokerStore,
  query: string,
  ...bindings: Binding[]
): Row | undefined {
  return rows<Row>(store, query, ...bindings)[0]
}

export function run({ sql }: BrokerStore, query: string, ...bindings: Binding[]): void {
  sql.exec(query, ...bindings)
}

/** A JSON column that this code wrote itself. */
// oxlint-disable-next-line typescript/no-unnecessary-type-parameters -- the column says what it is
export function readJson<T>(text: string): T {
  const value: T = JSON.parse(text)
  return value
}

/** A list for `IN (SELECT value FROM json_each(?))`: a statement takes few parameters, and its text stays the same. */
export function listParameter(values: readonly string[]): string {
  return JSON.stringify(values)
}

/** `'queued', 'running'`, for names that are constants of this code. */
export function quoted(names: readonly string[]): string {
  return names.map((name) => `'${name}'`).join(', ')
}

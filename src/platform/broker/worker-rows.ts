// Workers as they last described themselves, and their tokens. What a worker says is kept in memory and written down when it
// changes or has aged: they call several times a second.

import { ResourceNotFoundError } from '../../jobs/errors.ts'
import type { JobKind } from '../../jobs/kinds.ts'
import type { ConnectedWorker, WorkerToken } from '../../jobs/ports.ts'
import type { WorkerDescription } from '../../jobs/worker-protocol.ts'
import { firstRow, readJson, rows, run, type BrokerStore } from './store.ts'

/** A row is written again when it is older than this, so a restart of the broker forgets no more. */
const WRITE_EVERY_MS = 15_000
const TOKEN_WRITE_EVERY_MS = 60_000

export interface KnownWorker {
  token: string
  description: WorkerDescription
  firstSeenMs: number
  lastSeenMs: number
  writtenMs: number
}

/** By id; filled from the table at start. */
export type KnownWorkers = Map<string, KnownWorker>

type WorkerRow = { id: string; token: string; description: string; first_seen_ms: number; last_seen_ms: number }
type TokenRow = {
  id: string
  sha256: string
  name: string
  kinds: string | null
  created_ms: number
  expires_ms: number | null
  revoked_ms: number | null
  last_used_ms: number | null
}

export function loadWorkers(store: BrokerStore): KnownWorkers {
  return new Map(
    rows<WorkerRow>(store, 'SELECT * FROM workers').map((row) => [
      row.id,
      {
        token: row.token,
        description: readJson(row.description),
        firstSeenMs: row.first_seen_ms,
        lastSeenMs: row.last_seen_ms,
        writtenMs: row.last_seen_ms,
      },
    ]),
  )
}

export function seeWorker(
  store: BrokerStore,
  known: KnownWorkers,
  token: string,
  description: WorkerDescription,
): void {
  const now = store.now()
  const before = known.get(description.id)
  const isSame =
    before !== undefined &&
    before.token === token &&
    now - before.writtenMs < WRITE_EVERY_MS &&
    JSON.stringify(before.description) === JSON.stringify(description)
  if (isSame) {
    before.lastSeenMs = now
    return
  }
  const firstSeenMs = before?.firstSeenMs ?? now
  known.set(description.id, { token, description, firstSeenMs, lastSeenMs: now, writtenMs: now })
  run(
    store,
    `INSERT INTO workers (id, token, description, first_seen_ms, last_seen_ms) VALUES (?, ?, ?, ?, ?)
     ON CONFLICT (id) DO UPDATE SET
       token = excluded.token, description = excluded.description, last_seen_ms = excluded.last_seen_ms`,
    description.id,
    token,
    JSON.stringify(description),
    firstSeenMs,
    now,
  )
}

/** A sign of life that carries no description. */
export function hearWorker(store: BrokerStore, known: KnownWorkers, id: string): void {
  const worker = known.get(id)
  if (worker === undefined) return
  worker.lastSeenMs = store.now()
  if (worker.lastSeenMs - worker.writtenMs < WRITE_EVERY_MS) return
  worker.writtenMs = worker.lastSeenMs
  run(store, 'UPDATE workers SET last_seen_ms = ? WHERE id = ?', worker.lastSeenMs, id)
}

export function isConnected(store: BrokerStore, { lastSeenMs }: KnownWorker): boolean {
  return store.now() - lastSeenMs < store.settings.workerGoneMs
}

export function listWorkers(store: BrokerStore, known: KnownWorkers): ConnectedWorker[] {
  const held = rows<{ id: string; worker: string }>(store, `SELECT id, worker FROM jobs WHERE state = 'running'`)
  return [...known.values()].map((worker) => ({
    ...worker.description,
    tokenId: worker.token,
    firstSeenMs: worker.firstSeenMs,
    lastSeenMs: worker.lastSeenMs,
    isConnected: isConnected(store, worker),
    jobs: held.filter((job) => job.worker === worker.description.id).map(({ id }) => id),
  }))
}

export function forgetWorkers(store: BrokerStore, known: KnownWorkers, seenBeforeMs: number): void {
  for (const [id, { lastSeenMs }] of known) if (lastSeenMs <= seenBeforeMs) known.delete(id)
  run(store, 'DELETE FROM workers WHERE last_seen_ms <= ?', seenBeforeMs)
}

/** As the worker that was seen last tells it. */
export function headsOf(known: KnownWorkers, model: string): string[] | undefined {
  const newestFirst = [...known.values()].toSorted((a, b) => b.lastSeenMs - a.lastSeenMs)
  for (const { description } of newestFirst) {
    const found = description.models.find(({ id }) => id === model)
    if (found !== undefined) return found.heads
  }
  return undefined
}

export function createToken(store: BrokerStore, token: WorkerToken, sha256: string): WorkerToken {
  run(
    store,
    'INSERT INTO worker_tokens (id, sha256, name, kinds, created_ms, expires_ms) VALUES (?, ?, ?, ?, ?, ?)',
    token.id,
    sha256,
    token.name,
    token.kinds === null ? null : JSON.stringify(token.kinds),
    token.createdAtMs,
    token.expiresAtMs,
  )
  return token
}

export function listTokens(store: BrokerStore): WorkerToken[] {
  return rows<TokenRow>(store, 'SELECT * FROM worker_tokens ORDER BY created_ms, id').map(toToken)
}

/** Revoking twice changes nothing. @throws ResourceNotFoundError */
export function revokeToken(store: BrokerStore, id: string): WorkerToken {
  const row = firstRow<TokenRow>(
    store,
    'UPDATE worker_tokens SET revoked_ms = coalesce(revoked_ms, ?) WHERE id = ? RETURNING *',
    store.now(),
    id,
  )
  if (row === undefined) throw new ResourceNotFoundError('no such worker token')
  return toToken(row)
}

/** Undefined for one that is unknown, revoked or expired. */
export function findLiveToken(store: BrokerStore, id: string): { token: WorkerToken; sha256: string } | undefined {
  const now = store.now()
  const row = firstRow<TokenRow>(
    store,
    'SELECT * FROM worker_tokens WHERE id = ? AND revoked_ms IS NULL AND (expires_ms IS NULL OR expires_ms > ?)',
    id,
    now,
  )
  if (row === undefined) return undefined
  return { token: toToken(row), sha256: row.sha256 }
}

export function markTokenUsed(store: BrokerStore, { id, lastUsedMs }: WorkerToken): void {
  const now = store.now()
  if (lastUsedMs !== null && now - lastUsedMs < TOKEN_WRITE_EVERY_MS) return
  run(store, 'UPDATE worker_tokens SET last_used_ms = ? WHERE id = ?', now, id)
}

function toToken(row: TokenRow): WorkerToken {
  const kinds: JobKind[] | null = row.kinds === null ? null : readJson(row.kinds)
  return {
    id: row.id,
    name: row.name,
    kinds,
    createdAtMs: row.created_ms,
    expiresAtMs: row.expires_ms,
    revokedAtMs: row.revoked_ms,
    lastUsedMs: row.last_used_ms,
  }
}

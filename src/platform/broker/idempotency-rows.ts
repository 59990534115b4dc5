// Idempotency keys, each within its project: fresh, in flight, or finished with the answer that is given again.

import { IdempotencyInFlightError, IdempotencyMismatchError } from '../../jobs/errors.ts'
import type { IdempotencyStart, IdempotentRequest, StoredResponse } from '../../jobs/ports.ts'
import { firstRow, readJson, run, type BrokerStore } from './store.ts'

type KeyRow = {
  fingerprint: string
  job: string | null
  started_ms: number
  finished_ms: number | null
  response: string | null
}

/** @throws IdempotencyInFlightError, IdempotencyMismatchError */
export function beginKey(
  store: BrokerStore,
  project: string,
  { key, fingerprint }: IdempotentRequest,
): IdempotencyStart {
  const { idempotencyLockMs, idempotencyRetentionMs } = store.settings
  const now = store.now()
  const known = firstRow<KeyRow>(
    store,
    'SELECT fingerprint, job, started_ms, finished_ms, response FROM idempotency_keys WHERE project = ? AND key = ?',
    project,
    key,
  )
  if (known === undefined || now - known.started_ms >= idempotencyRetentionMs) {
    run(
      store,
      'INSERT OR REPLACE INTO idempotency_keys (project, key, fingerprint, started_ms) VALUES (?, ?, ?, ?)',
      project,
      key,
      fingerprint,
      now,
    )
    return { state: 'fresh', job: null }
  }
  if (known.fingerprint !== fingerprint)
    throw new IdempotencyMismatchError('this Idempotency-Key was used for another request', {
      param: 'idempotency-key',
    })
  if (known.response !== null) return { state: 'finished', response: readJson(known.response) }
  if (now - known.started_ms < idempotencyLockMs)
    throw new IdempotencyInFlightError('a request with this Idempotency-Key is being worked on')
  run(store, 'UPDATE idempotency_keys SET started_ms = ? WHERE project = ? AND key = ?', now, project, key)
  return { state: 'fresh', job: known.job }
}

export function finishKey(store: BrokerStore, project: string, key: string, response: StoredResponse): void {
  run(
    store,
    'UPDATE idempotency_keys SET finished_ms = ?, response = ? WHERE project = ? AND key = ?',
    store.now(),
    JSON.stringify(response),
    project,
    key,
  )
}

/** A key that a job is bound to is not forgotten: the next request with it would make a second one. */
export function abandonKey(store: BrokerStore, project: string, key: string): void {
  run(
    store,
    'DELETE FROM idempotency_keys WHERE project = ? AND key = ? AND finished_ms IS NULL AND job IS NULL',
    project,
    key,
  )
}

export function bindJob(store: BrokerStore, project: string, key: string, job: string): void {
  run(store, 'UPDATE idempotency_keys SET job = ? WHERE project = ? AND key = ?', job, project, key)
}

/** The job that a broken-off request with this key has made. */
export function boundJob(store: BrokerStore, project: string, key: string): string | null {
  return (
    firstRow<{ job: string | null }>(
      store,
      'SELECT job FROM idempotency_keys WHERE project = ? AND key = ?',
      project,
      key,
    )?.job ?? null
  )
}

export function forgetOldKeys(store: BrokerStore): void {
  run(store, 'DELETE FROM idempotency_keys WHERE started_ms <= ?', store.now() - store.settings.idempotencyRetentionMs)
}

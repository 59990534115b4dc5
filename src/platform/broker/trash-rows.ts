// Keys of objects that nothing names any more, or not yet, with when they are to be deleted. A key that ends in a slash
// stands for everything below it.

import { listParameter, rows, run, type BrokerStore } from './store.ts'

/** Leaves alone what a file, a model, a part of an upload or an unfinished job still names. */
const PUT_UNNAMED = `
  INSERT INTO trash (key, due_ms)
  SELECT value, ? FROM json_each(?) keys
  WHERE NOT EXISTS (SELECT 1 FROM files WHERE files.key = keys.value)
    AND NOT EXISTS (SELECT 1 FROM model_objects WHERE model_objects.key = keys.value)
    AND NOT EXISTS (SELECT 1 FROM upload_parts WHERE upload_parts.key = keys.value)
    AND NOT EXISTS (SELECT 1 FROM job_reads WHERE job_reads.key = keys.value)
  ON CONFLICT (key) DO UPDATE SET due_ms =`

/** Nothing names them any more: they go after the delay, in which readers and late writers come to their end. */
export function discard(store: BrokerStore, keys: readonly string[], delayMs = store.settings.trashDelayMs): void {
  if (keys.length === 0) return
  run(store, `${PUT_UNNAMED} min(due_ms, excluded.due_ms)`, store.now() + delayMs, listParameter(keys))
}

/** They are about to be written: they go if nothing names them in time. */
export function announce(store: BrokerStore, keys: readonly string[], keepMs: number): void {
  run(store, `${PUT_UNNAMED} excluded.due_ms`, store.now() + keepMs, listParameter(keys))
}

/** For keys that something names now. */
export function takeBack(store: BrokerStore, keys: readonly string[]): void {
  if (keys.length > 0)
    run(store, 'DELETE FROM trash WHERE key IN (SELECT value FROM json_each(?))', listParameter(keys))
}

/** The first of these keys that is in the trash. */
export function discardedAmong(store: BrokerStore, keys: readonly string[]): string | undefined {
  return rows<{ key: string }>(
    store,
    'SELECT key FROM trash WHERE key IN (SELECT value FROM json_each(?)) LIMIT 1',
    listParameter(keys),
  )[0]?.key
}

/** Keys whose time has come, the longest due first. */
export function trashed(store: BrokerStore, limit: number): string[] {
  return rows<{ key: string }>(
    store,
    'SELECT key FROM trash WHERE due_ms <= ? ORDER BY due_ms LIMIT ?',
    store.now(),
    limit,
  ).map(({ key }) => key)
}

// Forgets what outlived its retention: ended jobs with all that belongs to them, expired files and uploads, old
// idempotency keys. What they leave in the bucket goes to the trash.

import { INTERACTIVE_KINDS, isInteractive, JOB_KINDS, type JobKind } from '../../jobs/kinds.ts'
import { inputKey, outputKey, outputPrefix } from '../../jobs/object-keys.ts'
import { expireFiles } from './file-rows.ts'
import { forgetOldKeys } from './idempotency-rows.ts'
import { listParameter, readJson, rows, run, type BrokerStore } from './store.ts'
import { discard } from './trash-rows.ts'
import { expireUploads } from './upload-rows.ts'
import { forgetWorkers, type KnownWorkers } from './worker-rows.ts'

const LONG_KINDS = JOB_KINDS.filter((kind) => !isInteractive(kind))
/** In one transaction; the rest is done by the next ones. */
const MAX_TOGETHER = 200
/** Workers that were not seen for so long are forgotten. */
const WORKER_RETENTION_MS = 7 * 86_400_000

type EndedRow = { id: string; fence: number; state: string; outputs: string }

/** One piece of the work, to be called until it is done. @returns whether there may be more */
export function expireSome(store: BrokerStore, known: KnownWorkers): boolean {
  const { jobRetentionMs, interactiveRetentionMs } = store.settings
  forgetOldKeys(store)
  forgetWorkers(store, known, store.now() - WORKER_RETENTION_MS)
  const isMore = [
    expireFiles(store, MAX_TOGETHER),
    expireUploads(store, jobRetentionMs, MAX_TOGETHER),
    forgetJobs(store, INTERACTIVE_KINDS, store.now() - interactiveRetentionMs),
    forgetJobs(store, LONG_KINDS, store.now() - jobRetentionMs),
  ]
  return isMore.some(Boolean)
}

function forgetJobs(store: BrokerStore, kinds: readonly JobKind[], endedBeforeMs: number): boolean {
  const ended = rows<EndedRow>(
    store,
    `DELETE FROM jobs WHERE ordinal IN (
       SELECT ordinal FROM jobs WHERE ended_ms IS NOT NULL AND ended_ms <= ? AND kind IN (SELECT value FROM json_each(?))
       ORDER BY ended_ms LIMIT ?
     ) RETURNING id, fence, state, outputs`,
    endedBeforeMs,
    listParameter(kinds),
    MAX_TOGETHER,
  )
  for (const row of ended) {
    discard(store, objectsLeftBy(store, row))
    run(store, 'DELETE FROM checkpoints WHERE job = ?', row.id)
    run(store, 'DELETE FROM events WHERE job = ?', row.id)
  }
  return ended.length === MAX_TOGETHER
}

/** Everything below the leases that lost; of the one that won, what did not become a file or a model goes by its key. */
function objectsLeftBy(store: BrokerStore, { id, fence, state, outputs }: EndedRow): string[] {
  const winner = state === 'succeeded' ? fence : undefined
  const lost = Array.from({ length: fence }, (_, index) => index + 1).filter((lease) => lease !== winner)
  const written = readJson<{ key: string }[]>(outputs).map(({ key }) => key)
  const checkpoints = rows<{ fence: number; objects: string }>(
    store,
    'SELECT fence, objects FROM checkpoints WHERE job = ? AND is_resumable = 1',
    id,
  ).flatMap((row) => readJson<{ name: string }[]>(row.objects).map(({ name }) => outputKey(id, row.fence, name)))
  return [inputKey(id), ...lost.map((lease) => outputPrefix(id, lease)), ...written, ...checkpoints]
}

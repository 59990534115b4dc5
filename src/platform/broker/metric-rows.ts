// The figures that /metrics shows: what waits now, and how things ended since the beginning.

import type { BrokerMetrics } from '../../jobs/ports.ts'
import { firstRow, rows, type BrokerStore } from './store.ts'
import { isConnected, type KnownWorkers } from './worker-rows.ts'

type EndedRow = { kind: string; state: string; jobs: number; attempts: number; run_ms: number; wait_ms: number }

export function readMetrics(store: BrokerStore, known: KnownWorkers): BrokerMetrics {
  const waiting = rows<{ kind: string; jobs: number }>(
    store,
    `SELECT kind, count(*) jobs FROM jobs WHERE state IN ('stored', 'queued') GROUP BY kind`,
  )
  const oldest = firstRow<{ ready: number | null }>(
    store,
    `SELECT min(ready_ms) ready FROM jobs WHERE state IN ('stored', 'queued')`,
  )?.ready
  const count = (query: string): number => firstRow<{ n: number }>(store, query)?.n ?? 0
  const ended = rows<EndedRow>(store, 'SELECT * FROM ended_counts ORDER BY kind, state')
  const buckets = rows<{ kind: string; le: number; count: number }>(
    store,
    `SELECT kind, le, sum(count) OVER (PARTITION BY kind ORDER BY le) count FROM duration_counts ORDER BY kind, le`,
  )
  return {
    queueDepth: Object.fromEntries(waiting.map(({ kind, jobs }) => [kind, jobs])),
    oldestAgeSeconds: oldest === undefined || oldest === null ? 0 : Math.max(0, store.now() - oldest) / 1000,
    leases: count(`SELECT count(*) n FROM jobs WHERE state = 'running'`),
    connectedWorkers: [...known.values()].filter((worker) => isConnected(store, worker)).length,
    ended: ended.map(({ run_ms, wait_ms, ...counts }) => ({
      ...counts,
      runSeconds: run_ms / 1000,
      waitSeconds: wait_ms / 1000,
    })),
    durationBuckets: buckets,
    webhooksPending: count('SELECT count(*) n FROM webhook_outbox'),
    trashObjects: count('SELECT count(*) n FROM trash'),
  }
}

// GET /metrics: the broker's counts in Prometheus' text format 0.0.4. Written by hand, since a registry would keep in this
// isolate what only the broker knows. https://prometheus.io/docs/instrumenting/exposition_formats/

import type { BrokerMetrics } from '../jobs/ports.ts'
import type { JobDependencies } from '../services/job-dependencies.ts'
import type { AppContext, Route } from './context.ts'

type Labels = Record<string, string | number>
type Sample = readonly [labels: Labels, value: number, suffix?: string]

export function metricsRoutes({ broker }: JobDependencies): Route[] {
  const handle = async (c: AppContext): Promise<Response> => {
    const text = formatMetrics(await c.var.stages.measure('broker', () => broker.metrics()))
    return c.text(text, 200, { 'content-type': 'text/plain; version=0.0.4; charset=utf-8' })
  }
  return [{ method: 'GET', path: '/metrics', scopes: ['admin'], handle }]
}

function formatMetrics(metrics: BrokerMetrics): string {
  const { queueDepth, ended } = metrics
  const kinds = [...new Set(ended.map(({ kind }) => kind))]
  const totalOf = (kind: string, field: 'jobs' | 'runSeconds'): number =>
    ended.reduce((sum, row) => sum + (row.kind === kind ? row[field] : 0), 0)
  return [
    family('flava_jobs_waiting', 'gauge', 'Jobs that wait for a worker.', byKind(queueDepth)),
    family('flava_jobs_oldest_age_seconds', 'gauge', 'How long the oldest of them has waited.', [
      [{}, metrics.oldestAgeSeconds],
    ]),
    family('flava_leases', 'gauge', 'Jobs that workers hold.', [[{}, metrics.leases]]),
    family('flava_workers_connected', 'gauge', 'GPU workers heard of lately.', [[{}, metrics.connectedWorkers]]),
    family(
      'flava_jobs_ended_total',
      'counter',
      'Jobs that have ended; state dead: every attempt was used up.',
      ended.map(({ kind, state, jobs }) => [{ kind, state }, jobs]),
    ),
    family(
      'flava_job_attempts_total',
      'counter',
      'Attempts of jobs that have ended.',
      ended.map(({ kind, state, attempts }) => [{ kind, state }, attempts]),
    ),
    family(
      'flava_job_wait_seconds_total',
      'counter',
      'Time that ended jobs have waited for workers, before all their attempts together.',
      ended.map(({ kind, state, waitSeconds }) => [{ kind, state }, waitSeconds]),
    ),
    family('flava_job_run_seconds', 'histogram', 'How long ended jobs ran, all their attempts together.', [
      ...metrics.durationBuckets.map(({ kind, le, count }): Sample => [{ kind, le }, count, '_bucket']),
      ...kinds.flatMap((kind): Sample[] => [
        [{ kind, le: '+Inf' }, totalOf(kind, 'jobs'), '_bucket'],
        [{ kind }, totalOf(kind, 'runSeconds'), '_sum'],
        [{ kind }, totalOf(kind, 'jobs'), '_count'],
      ]),
    ]),
    family('flava_webhooks_pending', 'gauge', 'Deliveries that are still to be made.', [[{}, metrics.webhooksPending]]),
    family('flava_trash_objects', 'gauge', 'Objects in the bucket that are to be deleted.', [
      [{}, metrics.trashObjects],
    ]),
  ].join('')
}

function byKind(counts: Record<string, number>): Sample[] {
  return Object.entries(counts).map(([kind, count]) => [{ kind }, count])
}

/** Label values are kinds, states and bounds of ours: none needs an escape. */
function family(
  name: string,
  type: 'gauge' | 'counter' | 'histogram',
  help: string,
  samples: readonly Sample[],
): string {
  const lines = samples.map(([labels, value, suffix = '']) => {
    const pairs = Object.entries(labels).map(([label, text]) => `${label}="${text}"`)
    return `${name}${suffix}${pairs.length === 0 ? '' : `{${pairs.join(',')}}`} ${value}\n`
  })
  return `# HELP ${name} ${help}\n# TYPE ${name} ${type}\n${lines.join('')}`
}

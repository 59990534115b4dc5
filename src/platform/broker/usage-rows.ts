// What each project used, by UTC day; and the GPU seconds of its calendar month, which a budget is held against.

import { GpuBudgetExceededError } from '../../jobs/errors.ts'
import type { UsageDay } from '../../jobs/ports.ts'
import { firstRow, rows, run, type BrokerStore } from './store.ts'

export interface UsedNow {
  requests?: number
  tokens?: number
  images?: number
  gpuSeconds?: number
  jobs?: number
}

type UsageRow = {
  day: string
  requests: number
  tokens: number
  images: number
  gpu_seconds: number
  jobs: number
}

export function addUsage(store: BrokerStore, project: string, used: UsedNow): void {
  const { requests = 0, tokens = 0, images = 0, gpuSeconds = 0, jobs = 0 } = used
  run(
    store,
    `INSERT INTO usage_days (project, day, requests, tokens, images, gpu_seconds, jobs) VALUES (?, ?, ?, ?, ?, ?, ?)
     ON CONFLICT (project, day) DO UPDATE SET
       requests = requests + excluded.requests, tokens = tokens + excluded.tokens, images = images + excluded.images,
       gpu_seconds = gpu_seconds + excluded.gpu_seconds, jobs = jobs + excluded.jobs`,
    project,
    dayOf(store.now()),
    requests,
    tokens,
    images,
    gpuSeconds,
    jobs,
  )
}

export function usageOf(store: BrokerStore, project: string, range: { fromDay: string; toDay: string }): UsageDay[] {
  return rows<UsageRow>(
    store,
    `SELECT day, requests, tokens, images, gpu_seconds, jobs FROM usage_days
     WHERE project = ? AND day BETWEEN ? AND ? ORDER BY day`,
    project,
    range.fromDay,
    range.toDay,
  ).map(({ gpu_seconds: gpuSeconds, ...counts }) => ({ ...counts, gpuSeconds }))
}

/** @throws GpuBudgetExceededError */
export function checkGpuBudget(store: BrokerStore, project: string, budgetSeconds: number): void {
  const month = dayOf(store.now()).slice(0, 7)
  const { used } = firstRow<{ used: number }>(
    store,
    'SELECT coalesce(sum(gpu_seconds), 0) used FROM usage_days WHERE project = ? AND day BETWEEN ? AND ?',
    project,
    `${month}-01`,
    `${month}-31`,
  ) ?? { used: 0 }
  if (used < budgetSeconds) return
  throw new GpuBudgetExceededError(
    `the project has used ${Math.round(used)} of its ${budgetSeconds} GPU seconds of ${month}; new jobs start next month`,
  )
}

function dayOf(ms: number): string {
  return new Date(ms).toISOString().slice(0, 10)
}

// What a project has used, by day.

import type { UsageDay } from '../jobs/ports.ts'
import type { JobDependencies } from './job-dependencies.ts'

export interface UsageRange {
  /** UTC, YYYY-MM-DD, both included. */
  fromDay: string
  toDay: string
}

export interface UsageReport extends UsageRange {
  days: UsageDay[]
  total: Omit<UsageDay, 'day'>
}

/** The present calendar month, where the caller names no days. */
export async function reportUsage(
  { broker, nowMs }: Pick<JobDependencies, 'broker' | 'nowMs'>,
  project: string,
  { fromDay, toDay }: { fromDay: string | undefined; toDay: string | undefined },
): Promise<UsageReport> {
  const today = new Date(nowMs()).toISOString().slice(0, 10)
  const range = { fromDay: fromDay ?? `${(toDay ?? today).slice(0, 7)}-01`, toDay: toDay ?? today }
  const days = await broker.usage(project, range)
  const sum = (of: (day: UsageDay) => number): number => days.reduce((total, day) => total + of(day), 0)
  const total = {
    requests: sum(({ requests }) => requests),
    tokens: sum(({ tokens }) => tokens),
    images: sum(({ images }) => images),
    gpuSeconds: sum(({ gpuSeconds }) => gpuSeconds),
    jobs: sum(({ jobs }) => jobs),
  }
  return { ...range, days, total }
}

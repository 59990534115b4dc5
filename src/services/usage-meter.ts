// Counts what the edge answers itself and tells the broker now and then: a call of it for every request would cost a short
// text half as much again as its encoding does.

import type { UsageCounts, UsageLedger } from '../jobs/ports.ts'
import type { JobDependencies } from './job-dependencies.ts'

export interface UsageMeter {
  /**
   * Counts a request that was answered. Never fails: an answer is worth more than its count.
   * @returns settles when what it took upon itself is told; the caller keeps the promise alive beyond its answer
   */
  count(project: string, counts: UsageCounts): Promise<void>
}

const COLLECT_MS = 1_000
/** A request that the runtime cancels takes its promise along: the next one then collects anew. */
const GIVE_UP_MS = 5_000

/** @param wait a timer of the runtime's */
export function createUsageMeter(
  { broker, log, nowMs }: Pick<JobDependencies, 'log' | 'nowMs'> & { broker: Pick<UsageLedger, 'countUsage'> },
  wait: (ms: number) => Promise<void>,
): UsageMeter {
  let collected = new Map<string, UsageCounts>()
  let collectingSinceMs = Number.NEGATIVE_INFINITY
  const tell = async (): Promise<void> => {
    await wait(COLLECT_MS)
    const all = collected
    collected = new Map()
    collectingSinceMs = Number.NEGATIVE_INFINITY
    await Promise.all([...all].map(([project, counts]) => tellOne(project, counts)))
  }
  const tellOne = async (project: string, counts: UsageCounts): Promise<void> => {
    try {
      await broker.countUsage(project, counts)
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error)
      log(JSON.stringify({ event: 'usage_lost', project, ...counts, why }))
    }
  }
  return {
    async count(project, counts) {
      collected.set(project, add(collected.get(project), counts))
      const now = nowMs()
      if (now - collectingSinceMs < GIVE_UP_MS) return
      collectingSinceMs = now
      await tell()
    },
  }
}

function add(before: UsageCounts | undefined, { requests, tokens, images }: UsageCounts): UsageCounts {
  if (before === undefined) return { requests, tokens, images }
  return {
    requests: before.requests + requests,
    tokens: before.tokens + tokens,
    images: before.images + images,
  }
}

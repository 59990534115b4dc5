// Wall time of a request by stage, for the Server-Timing header and the log line.
// Production clocks stand still while a Worker computes and move only at I/O, so stages are cut at Worker-to-Worker
// calls: there each figure is the whole call, computing on the other side included.

export type StageName =
  'auth' | 'parse' | 'fetch' | 'model' | 'pixels' | 'text' | 'image' | 'broker' | 'objects' | 'wait'

export interface Stages {
  /** Runs `work` and adds its wall time to the stage. */
  measure<T>(name: StageName, work: () => Promise<T>): Promise<T>
  /** Milliseconds by stage, in the order in which stages first ended. */
  readonly durationsMs: ReadonlyMap<StageName, number>
  /** Value of a Server-Timing header, with the whole as `total`. */
  toServerTiming(): string
  totalMs(): number
}

export function createStages(now: () => number): Stages {
  const startedAt = now()
  const durationsMs = new Map<StageName, number>()
  return {
    durationsMs,
    async measure(name, work) {
      const begunAt = now()
      try {
        return await work()
      } finally {
        durationsMs.set(name, (durationsMs.get(name) ?? 0) + now() - begunAt)
      }
    },
    totalMs: () => now() - startedAt,
    toServerTiming() {
      const entries = [...durationsMs, ['total', now() - startedAt] as const]
      return entries.map(([name, ms]) => `${name};dur=${ms.toFixed(1)}`).join(', ')
    },
  }
}

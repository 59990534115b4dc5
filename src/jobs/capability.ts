// Whether a worker can do a job: kinds, memory, and the model that it brings with the head that the job needs.

import type { JobKind } from './kinds.ts'
import type { WorkerDescription } from './worker-protocol.ts'

/** What a job asks of a worker. */
export interface JobNeeds {
  kind: JobKind
  minMemoryMib: number
  /** See needOf. */
  need: string
}

/** The worker's model and, where one is asked for, the head of it, in one string that can be looked up. */
export function needOf(base: string, head: string | null): string {
  return head === null ? base : `${base}\n${head}`
}

/** Every need that the worker's models meet. */
export function needsMetBy({ models }: WorkerDescription): string[] {
  return models.flatMap(({ id, heads }) => [needOf(id, null), ...heads.map((head) => needOf(id, head))])
}

/** @param allowed kinds that the worker's token opens, all when null */
export function kindsOf({ kinds }: WorkerDescription, allowed: readonly JobKind[] | null): JobKind[] {
  return allowed === null ? kinds : kinds.filter((kind) => allowed.includes(kind))
}

export function canDo(worker: WorkerDescription, allowed: readonly JobKind[] | null, job: JobNeeds): boolean {
  return (
    kindsOf(worker, allowed).includes(job.kind) &&
    worker.memory_mib >= job.minMemoryMib &&
    needsMetBy(worker).includes(job.need)
  )
}

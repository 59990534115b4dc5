// What the services of jobs, files, models and workers are given. The gateway's entry puts it together.

import type { JobBroker, JobQueue, ObjectStore, UrlSigner } from '../jobs/ports.ts'
import type { ImageFetching } from './collect-pictures.ts'
import type { ModelCatalog } from './model-catalog.ts'

export interface JobDependencies {
  broker: JobBroker
  objects: ObjectStore
  urls: UrlSigner
  queue: JobQueue
  catalog: ModelCatalog
  /** Absent where the deployment fetches no pictures. */
  imageFetching: ImageFetching | undefined
  /** GPU seconds that each project may use in a calendar month (UTC); null for no limit. */
  gpuSecondsBudget: number | null
  /** Milliseconds since 1970. */
  nowMs: () => number
  /** Random lower-case hex digits. */
  randomHex: (digits: number) => string
  /** Takes one line, a JSON object. */
  log: (line: string) => void
}

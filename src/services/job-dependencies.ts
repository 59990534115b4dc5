// What the services of jobs, files, models and workers are given.

import type { JobBroker, JobQueue, ObjectStore, UrlSigner } from '../jobs/ports.ts'
import type { ImageFetching } from './collect-pictures.ts'
import type { ModelCatalog } from './model-catalog.ts'

/** What the deployment's bindings make of the jobs' ports. */
export interface JobServices {
  broker: JobBroker
  objects: ObjectStore
  queue: JobQueue
  /**
   * Signs URLs of the bucket's S3 endpoint. On a development machine that endpoint is the service itself, so the URL that
   * the caller asked tells where; a deployment has it in its settings. @throws MisconfiguredError where neither holds
   */
  signerFor: (requestUrl: string) => UrlSigner
  /** GPU seconds that a project may use in a calendar month (UTC); null for no limit. */
  gpuSecondsBudgetOf: (project: string) => number | null
}

export interface JobDependencies extends JobServices {
  catalog: ModelCatalog
  /** Absent where the deployment fetches no pictures. */
  imageFetching: ImageFetching | undefined
  /** Milliseconds since 1970. */
  nowMs: () => number
  /** Random lower-case hex digits. */
  randomHex: (digits: number) => string
  /** Takes one line, a JSON object. */
  log: (line: string) => void
}

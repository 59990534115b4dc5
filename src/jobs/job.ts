// A job as the rest of the service sees it: what was asked, where it stands, what came of it.

import type { JobKind } from './kinds.ts'
import type { JobState } from './states.ts'
import type { Checkpoint, JobError, JobObject, ModelRef, Progress, WorkerEvent } from './worker-protocol.ts'

/** An object in the bucket that a job may read or has written. */
export interface StoredObject extends JobObject {
  /** Made of ids of ours alone. */
  key: string
}

/** What a handler asks the broker to keep. */
export interface NewJob {
  id: string
  project: string
  kind: JobKind
  model: ModelRef
  /** The head that a worker's checkpoint must have trained, for models that a worker brings itself. */
  head: string | null
  /** Inline JSON text of at most MAX_INLINE_BYTES, or the object that holds it. */
  input: { inline: string } | { object: StoredObject }
  objects: StoredObject[]
  /** The request as the API gives it back: hyperparameters, metadata, endpoint. */
  request: Record<string, unknown>
  minMemoryMib: number
  maxRuntimeSeconds: number
  /** Wall-clock end of all waiting, as a batch's completion window; null for none. */
  deadlineMs: number | null
}

export interface OutputFile extends StoredObject {
  /** Its id among the project's files; null where the job alone keeps it, as a result too long to be inline. */
  fileId: string | null
  filename: string
  purpose: FilePurpose
  /** From its making on; for ever when absent. */
  expiresAfterSeconds?: number
}

export interface JobUsage {
  gpuSeconds: number
  tokens: number
  images: number
}

export interface JobRecord {
  id: string
  project: string
  kind: JobKind
  state: JobState
  modelId: string
  request: Record<string, unknown>
  createdAtMs: number
  /** When the present or last attempt began. */
  startedAtMs: number | null
  endedAtMs: number | null
  attempt: number
  maxAttempts: number
  maxRuntimeSeconds: number
  deadlineMs: number | null
  worker: string | null
  isCancelRequested: boolean
  /** When it was, of a job that ran then; null otherwise. */
  cancelRequestedAtMs: number | null
  isPauseRequested: boolean
  progress: Progress | null
  error: JobError | null
  /** Parsed JSON, null before success or where `outputs` holds it. */
  result: unknown
  outputs: OutputFile[]
  usage: JobUsage
  /** How many jobs go before it, 0 for the next, counted up to 1000; null unless it waits, and in lists. */
  queuePosition: number | null
  /** `worker`: it waits and no connected worker can do it. */
  waitingFor: 'worker' | null
}

export interface JobCheckpoint extends Checkpoint {
  id: string
  job: string
  fence: number
  createdAtMs: number
}

/** One line of a job's history; `sequence` counts from 1 within the job. */
export interface JobEvent {
  id: string
  sequence: number
  atMs: number
  data:
    | { type: 'state'; state: JobState; message: string }
    | { type: 'progress'; progress: Progress }
    | { type: 'checkpoint'; checkpoint: string; step: number }
    | WorkerEvent
}

export const FILE_PURPOSES = ['fine-tune', 'batch', 'user_data'] as const
export type UploadPurpose = (typeof FILE_PURPOSES)[number]
export type FilePurpose = UploadPurpose | 'batch_output' | 'fine-tune-results'

export interface FileRecord {
  id: string
  project: string
  key: string
  bytes: number
  sha256: string
  filename: string
  purpose: FilePurpose
  createdAtMs: number
  expiresAtMs: number | null
}

export interface UploadPart {
  id: string
  key: string
  bytes: number
  createdAtMs: number
}

export interface UploadRecord {
  id: string
  project: string
  status: 'pending' | 'completed' | 'cancelled' | 'expired'
  bytes: number
  filename: string
  mimeType: string
  purpose: UploadPurpose
  createdAtMs: number
  expiresAtMs: number
  /** How long the file that comes of it is kept; null for ever. */
  fileExpiresAfterSeconds: number | null
  fileId: string | null
}

/** A checkpoint that a job left, served to jobs under `id`. */
export interface FineTunedModel {
  id: string
  project: string
  base: string
  job: string
  method: string
  heads: string[]
  labels: string[] | null
  objects: StoredObject[]
  createdAtMs: number
}

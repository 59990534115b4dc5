// What the services need of whoever keeps the jobs. The Durable Object broker implements all of it; everything that takes
// a `project` answers for that project alone and throws a not-found error for what is another's.

import type {
  FileRecord,
  FineTunedModel,
  JobCheckpoint,
  JobEvent,
  JobRecord,
  NewJob,
  OutputFile,
  StoredObject,
  UploadPart,
  UploadRecord,
} from './job.ts'
import type { JobKind } from './kinds.ts'
import type { JobState } from './states.ts'
import type {
  Checkpoint,
  CompleteRequest,
  FailRequest,
  HeartbeatRequest,
  HeartbeatResponse,
  Lease,
  LeaseRequest,
  WorkerDescription,
} from './worker-protocol.ts'

export interface Page {
  after: string | undefined
  limit: number
  order: 'asc' | 'desc'
}
export interface Paged<T> {
  data: T[]
  hasMore: boolean
}

/** An `Idempotency-Key` with what it was sent for. */
export interface IdempotentRequest {
  key: string
  /** SHA-256 of method, path and body. */
  fingerprint: string
}
export interface StoredResponse {
  status: number
  headers: Record<string, string>
  body: string
}
/**
 * `fresh`: go on, and call `finish` or `abandon`; `finished`: answer this again. A key in flight or reused for another
 * payload is an error. `job` is the job that an earlier, broken-off request had already made under this key.
 */
export type IdempotencyStart = { state: 'fresh'; job: string | null } | { state: 'finished'; response: StoredResponse }

export interface IdempotencyKeys {
  /** @throws IdempotencyInFlightError (409), IdempotencyMismatchError (422) */
  beginIdempotent(project: string, request: IdempotentRequest): Promise<IdempotencyStart>
  finishIdempotent(project: string, key: string, response: StoredResponse): Promise<void>
  /** Forgets the key, after a request that made nothing. */
  abandonIdempotent(project: string, key: string): Promise<void>
}

export interface SubmitOptions {
  idempotencyKey: string | null
  /** GPU seconds that the project may use in a calendar month (UTC); null for no limit. */
  gpuSecondsBudget: number | null
}

/** The owner's side of a job. */
export interface JobLedger {
  /** Keeps the job: `queued` when interactive, else `stored` until its Queue message comes. @throws GpuBudgetExceededError */
  submit(job: NewJob, options: SubmitOptions): Promise<JobRecord>
  /** The Queue delivered these ids; unknown ones and those further on are left alone. */
  markQueued(ids: readonly string[]): Promise<void>
  get(project: string, id: string): Promise<JobRecord>
  list(project: string, filter: { kinds: readonly JobKind[] | undefined } & Page): Promise<Paged<JobRecord>>
  /** Fulfilled when the job has ended or `waitMs` (at most 25 s) are over, whichever is first. */
  waitForEnd(project: string, id: string, waitMs: number): Promise<JobRecord>
  cancel(project: string, id: string): Promise<JobRecord>
  pause(project: string, id: string): Promise<JobRecord>
  resume(project: string, id: string): Promise<JobRecord>
  /** Begins anew what has ended without success; it is held to the budget like a new job. @throws GpuBudgetExceededError */
  retry(project: string, id: string, options: Pick<SubmitOptions, 'gpuSecondsBudget'>): Promise<JobRecord>
  /** Events after `sequence`, oldest first; waits up to `waitMs` for one while there is none and the job goes on. */
  eventsAfter(
    project: string,
    id: string,
    sequence: number,
    options: { limit: number; waitMs: number },
  ): Promise<{ events: JobEvent[]; isOver: boolean }>
  /** All events, newest first unless asked otherwise; `after` is an event's id. */
  listEvents(project: string, id: string, page: Page): Promise<Paged<JobEvent>>
  listCheckpoints(project: string, id: string, page: Page): Promise<Paged<JobCheckpoint>>
}

/** Who speaks for a lease: the worker, by the token it was authorized with, which must be that of the lease. */
export interface Holder {
  worker: string
  tokenId: string
  job: string
  fence: number
}

/** What a worker may know of the objects of a job it holds. */
export interface HeldObjects {
  project: string
  reads: StoredObject[]
}

/** A heartbeat without the checkpoints in it: those are read before they count, and a lease does not wait for that. */
export type LeaseRenewal = Omit<HeartbeatRequest, 'jobs'> & {
  jobs: Omit<HeartbeatRequest['jobs'][number], 'checkpoint'>[]
}

/** The worker's side. All writes hold only for the live lease: `fence` is checked in the same statement. */
export interface LeaseDesk {
  /** Up to `max_jobs` leases; waits up to `wait_ms` while there is nothing to do. `tokenId` is the worker token's. */
  lease(request: LeaseRequest, tokenId: string): Promise<Lease[]>
  heartbeat(request: LeaseRenewal, tokenId: string): Promise<HeartbeatResponse>
  /** Whether the lease is the live one and has not left a checkpoint of this step yet. */
  isNewCheckpoint(holder: Holder, step: number): Promise<boolean>
  /** Keeps a checkpoint that was checked against the bucket; once, and only for the live lease. */
  addCheckpoint(holder: Holder, checkpoint: Checkpoint): Promise<void>
  /** Tells in the job's history why a checkpoint of its live lease was not kept. */
  refuseCheckpoint(holder: Holder, step: number, reason: string): Promise<void>
  /**
   * Objects that the holder of this lease may read: input, data sets, model, resumable checkpoint.
   * @throws StaleLeaseError
   */
  heldObjects(holder: Holder): Promise<HeldObjects>
  /**
   * Ends the job. `outputs` were checked against the bucket; they become files of the project in the same transaction.
   * @throws StaleLeaseError when another lease, or no lease, holds the job
   */
  complete(
    request: CompleteRequest,
    tokenId: string,
    outputs: readonly OutputFile[],
    model: FineTunedModel | null,
  ): Promise<{ isFirst: boolean }>
  /** @throws StaleLeaseError */
  fail(request: FailRequest, tokenId: string): Promise<{ state: JobState }>
  /**
   * The record behind a lease, for checks before `complete`; also of a job that this very lease has completed, whose
   * answer was lost and which is completed again. @throws StaleLeaseError
   */
  held(holder: Holder): Promise<JobRecord>
}

export interface ConnectedWorker extends WorkerDescription {
  tokenId: string
  firstSeenMs: number
  lastSeenMs: number
  isConnected: boolean
  jobs: string[]
}

export interface WorkerRegistry {
  listWorkers(): Promise<ConnectedWorker[]>
  /** Heads of a base model as workers last told them; undefined when none ever did. */
  headsOf(model: string): Promise<string[] | undefined>
}

export interface WorkerToken {
  id: string
  name: string
  /** Kinds of job it may lease; all when null. */
  kinds: JobKind[] | null
  createdAtMs: number
  expiresAtMs: number | null
  revokedAtMs: number | null
  lastUsedMs: number | null
}

export interface WorkerTokens {
  /** `sha256` of the whole token; the token itself is shown once and kept nowhere. */
  createWorkerToken(token: WorkerToken, sha256: string): Promise<WorkerToken>
  listWorkerTokens(): Promise<WorkerToken[]>
  revokeWorkerToken(id: string): Promise<WorkerToken>
  /** The live token of that id and its hash, or undefined. The caller compares, in constant time. */
  findWorkerToken(id: string): Promise<{ token: WorkerToken; sha256: string } | undefined>
}

/** An upload and its parts in the order asked for. */
export interface UploadCompletion {
  project: string
  uploadId: string
  partIds: readonly string[]
}

export interface FileIndex {
  createFile(file: FileRecord): Promise<FileRecord>
  getFile(project: string, id: string): Promise<FileRecord>
  listFiles(project: string, filter: { purpose: string | undefined } & Page): Promise<Paged<FileRecord>>
  /** Takes the file out of the index and its object to the trash, unless a job that is not over reads it. */
  deleteFile(project: string, id: string): Promise<void>
  createUpload(upload: UploadRecord): Promise<UploadRecord>
  getUpload(project: string, id: string): Promise<UploadRecord>
  /** @throws UploadStateError when it is not pending */
  addPart(project: string, uploadId: string, part: UploadPart): Promise<UploadPart>
  /** The parts named, in that order, while the upload is pending. @throws InvalidInputError for unknown or repeated ids */
  partsOf(project: string, uploadId: string, partIds: readonly string[]): Promise<UploadPart[]>
  /** Turns the upload into a file, once; its parts go to the trash. */
  completeUpload(completion: UploadCompletion, file: FileRecord): Promise<UploadRecord>
  /** What this very completion has come to before, whose answer was lost; undefined where it has not. */
  completedUpload(completion: UploadCompletion): Promise<{ upload: UploadRecord; file: FileRecord } | undefined>
  cancelUpload(project: string, uploadId: string): Promise<UploadRecord>
}

/** Objects that nothing names yet. Whatever names one (a file, a part, a checkpoint, an output) takes it out of the trash. */
export interface UnnamedObjects {
  /** Told before an object is written: it is trash after `keepMs`, so that a write that breaks off leaves nothing behind. */
  announceObjects(keys: readonly string[], keepMs: number): Promise<void>
  /** Announced objects that came to nothing are trash at once; those that something names by now are left alone. */
  discardObjects(keys: readonly string[]): Promise<void>
}

export interface ModelRegistry {
  listFineTunedModels(project: string): Promise<FineTunedModel[]>
  /** @throws ModelNotFoundError */
  getFineTunedModel(project: string, id: string): Promise<FineTunedModel>
  deleteFineTunedModel(project: string, id: string): Promise<void>
}

export interface WebhookEndpoint {
  id: string
  project: string
  url: string
  /** Event types, or all when empty. */
  events: string[]
  createdAtMs: number
  disabledAtMs: number | null
}
export interface WebhookEndpoints {
  createWebhookEndpoint(endpoint: WebhookEndpoint, secret: string): Promise<WebhookEndpoint>
  listWebhookEndpoints(project: string): Promise<WebhookEndpoint[]>
  deleteWebhookEndpoint(project: string, id: string): Promise<void>
}

export interface UsageCounts {
  requests: number
  tokens: number
  images: number
}
export interface UsageDay extends UsageCounts {
  /** UTC, YYYY-MM-DD. */
  day: string
  gpuSeconds: number
  jobs: number
}
export interface UsageLedger {
  countUsage(project: string, counts: UsageCounts): Promise<void>
  /** Days of the range that have any, oldest first. */
  usage(project: string, range: { fromDay: string; toDay: string }): Promise<UsageDay[]>
}

export interface BrokerMetrics {
  /** Jobs waiting, by kind. */
  queueDepth: Record<string, number>
  oldestAgeSeconds: number
  leases: number
  connectedWorkers: number
  /** Since the beginning, by kind and end: counts, attempts, and seconds of running. */
  ended: { kind: string; state: string; jobs: number; attempts: number; runSeconds: number; waitSeconds: number }[]
  /** Cumulative counts of run times by upper bound in seconds, by kind. */
  durationBuckets: { kind: string; le: number; count: number }[]
  webhooksPending: number
  trashObjects: number
}

export interface Maintenance {
  metrics(): Promise<BrokerMetrics>
  /** Ids that were stored and never came through the Queue for a while, to be sent again. */
  takeUnqueued(): Promise<string[]>
  /** Drops what outlived its retention; objects go to the trash. */
  expire(): Promise<void>
  /** Keys of objects that nothing names any more, and their removal from the list once they are deleted. */
  trash(limit: number): Promise<string[]>
  emptyTrash(keys: readonly string[]): Promise<void>
}

export type JobBroker = IdempotencyKeys &
  JobLedger &
  LeaseDesk &
  WorkerRegistry &
  WorkerTokens &
  FileIndex &
  UnnamedObjects &
  ModelRegistry &
  WebhookEndpoints &
  UsageLedger &
  Maintenance

/** Where bytes lie. Keys are made of ids of ours. */
export interface ObjectStore {
  /** Streams `body` of a length that is known; resolves to the hash of what was stored. */
  put(key: string, body: ReadableStream<Uint8Array>, bytes: number): Promise<{ bytes: number; sha256: string }>
  /** Streams `body` of unknown length, in pieces; refuses what is longer than `maxBytes`. */
  putUnsized(
    key: string,
    body: ReadableStream<Uint8Array>,
    maxBytes: number,
  ): Promise<{ bytes: number; sha256: string }>
  /** Undefined when there is no such object. */
  get(
    key: string,
    range?: { offset: number; length: number },
  ): Promise<{ body: ReadableStream<Uint8Array>; bytes: number } | undefined>
  /** Length and hash as read now, streamed; undefined when there is none. */
  digest(key: string): Promise<{ bytes: number; sha256: string } | undefined>
  delete(keys: readonly string[]): Promise<void>
}

/** Makes URLs that open one object for a short while. */
export interface UrlSigner {
  signRead(key: string, expiresSeconds: number): Promise<string>
  signWrite(key: string, expiresSeconds: number): Promise<string>
}

/** The Cloudflare Queue, which carries ids and nothing else. */
export interface JobQueue {
  send(ids: readonly string[]): Promise<void>
}

// Refusals of the jobs API: of the broker, of files and uploads, and towards workers.

import { AppError } from '../errors.ts'

/** No such job, file, upload, model, webhook endpoint or token; or it is another project's, which looks the same. */
export class ResourceNotFoundError extends AppError {
  readonly code = 'not_found'
  readonly status = 404
  override readonly type = 'not_found_error'
}

/** The job is in a state that this does not apply to: cancelling what has ended, resuming what is not paused. */
export class JobStateError extends AppError {
  readonly code = 'job_state_conflict'
  readonly status = 409
  override readonly isFinal = true
}

/** The model has the architecture for this and was never trained for it: any answer would be noise. */
export class HeadNotTrainedError extends AppError {
  readonly code = 'head_not_trained'
  readonly status = 409
  override readonly isFinal = true
}

/** A request with this Idempotency-Key is being worked on. */
export class IdempotencyInFlightError extends AppError {
  readonly code = 'idempotency_key_in_flight'
  readonly status = 409
  override readonly retryAfterSeconds = 1
}

/** The Idempotency-Key was used for another request. */
export class IdempotencyMismatchError extends AppError {
  readonly code = 'idempotency_key_reused'
  readonly status = 422
}

/** The project has used up its GPU seconds of this month. */
export class GpuBudgetExceededError extends AppError {
  readonly code = 'gpu_budget_exceeded'
  readonly status = 429
  override readonly type = 'rate_limit_error'
  override readonly isFinal = true
}

/** The upload was completed, cancelled or has expired. */
export class UploadStateError extends AppError {
  readonly code = 'upload_state_conflict'
  readonly status = 409
  override readonly isFinal = true
}

/** A job that is not over still reads the file. */
export class FileInUseError extends AppError {
  readonly code = 'file_in_use'
  readonly status = 409
  override readonly isFinal = true
}

/** A job ended without a result; `code` is the job's own where the worker gave one. */
export class JobFailedError extends AppError {
  readonly code: string
  readonly status: number
  override readonly type = 'server_error'
  override readonly isFinal: boolean

  /** @param isFinal whether the same job would fail the same way again */
  constructor(code: string, message: string, { status, isFinal }: { status: number; isFinal: boolean }) {
    super(message)
    this.code = code
    this.status = status
    this.isFinal = isFinal
  }
}

/** The worker's lease has ended, or another one holds the job: whatever it brings comes too late. */
export class StaleLeaseError extends AppError {
  readonly code = 'stale_lease'
  readonly status = 409
  override readonly isFinal = true
}

/** What a worker says it has written is not what lies in the bucket. */
export class OutputMismatchError extends AppError {
  readonly code = 'output_mismatch'
  readonly status = 422
}

/** The other side speaks another version of the worker contract. */
export class ContractVersionError extends AppError {
  readonly code = 'contract_version_unsupported'
  readonly status = 409
  override readonly isFinal = true
}

/** The worker token is missing, unknown, revoked or expired; or a public API key was sent in its place. */
export class InvalidWorkerTokenError extends AppError {
  readonly code = 'invalid_worker_token'
  readonly status = 401
  override readonly type = 'authentication_error'
}

// A job that ended without a result, as the error that its caller gets.

import { JobFailedError, HeadNotTrainedError } from '../jobs/errors.ts'
import { RemoteError, type AppError } from '../errors.ts'
import type { JobRecord } from '../jobs/job.ts'

/** What workers say of a request that no worker could answer, with the status that says the same. */
const REFUSALS: Record<string, number> = {
  invalid_input: 400,
  input_too_long: 400,
  invalid_base64: 400,
  too_many_items: 400,
  model_not_found: 404,
  image_too_large: 413,
  unsupported_image: 415,
  corrupt_image: 422,
}

/** @param job in a terminal state other than succeeded */
export function failureOf(job: JobRecord): AppError {
  const { error, state } = job
  if (state === 'cancelled') return ended('job_cancelled', `job ${job.id} was cancelled`, 409)
  if (state === 'expired') return ended('job_expired', `job ${job.id} expired before it had ended`, 504)
  if (error === null) return ended('job_failed', `job ${job.id} failed`, 500)
  const { code, message, param } = error
  if (code === 'head_not_trained') return new HeadNotTrainedError(message, param === null ? {} : { param })
  const status = REFUSALS[code]
  if (status !== undefined) {
    return new RemoteError(
      { code, status, type: 'invalid_request_error', message, param },
      param === null ? {} : { param },
    )
  }
  const text = `job ${job.id}: ${message}`
  // Every attempt was used up: the workers may do better another time.
  return state === 'dead' ? new JobFailedError(code, text, { status: 503, isFinal: false }) : ended(code, text, 500)
}

/** The same request would end the same way, or was ended on purpose. */
function ended(code: string, message: string, status: number): JobFailedError {
  return new JobFailedError(code, message, { status, isFinal: true })
}

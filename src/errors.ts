// The AppError family: every refusal this service can give, with a stable code and HTTP status.
// Knows nothing of HTTP responses; only app.ts turns an error into one.

export type ErrorType =
  | 'invalid_request_error'
  | 'authentication_error'
  | 'permission_error'
  | 'not_found_error'
  | 'rate_limit_error'
  | 'service_unavailable'
  | 'server_error'

/** An error as plain data: what crosses a Worker-to-Worker call, where classes are lost. */
export interface ErrorDetail {
  code: string
  status: number
  type: ErrorType
  message: string
  param: string | null
  /** Position, in the call's own list, of the item that was refused. */
  index?: number
  retryAfterSeconds?: number
  isFinal?: boolean
}

export interface AppErrorOptions {
  /** The request field the error is about, in OpenAI's `param` notation: `input[3].image`. */
  param?: string
  /** Position of the refused item in the list the thrower was given. */
  index?: number
  cause?: unknown
}

export abstract class AppError extends Error {
  abstract readonly code: string
  abstract readonly status: number
  readonly type: ErrorType = 'invalid_request_error'
  readonly param: string | null
  readonly index: number | undefined
  /** Set where waiting is the remedy. */
  readonly retryAfterSeconds: number | undefined = undefined
  /** Whether the same request would be refused again, for statuses that clients take for passing ones: 409, 429. */
  readonly isFinal: boolean = false

  constructor(message: string, options: AppErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause })
    this.name = new.target.name
    this.param = options.param ?? null
    this.index = options.index
  }

  toDetail(): ErrorDetail {
    return {
      code: this.code,
      status: this.status,
      type: this.type,
      message: this.message,
      param: this.param,
      ...(this.index === undefined ? {} : { index: this.index }),
      ...(this.retryAfterSeconds === undefined ? {} : { retryAfterSeconds: this.retryAfterSeconds }),
      ...(this.isFinal ? { isFinal: true } : {}),
    }
  }
}

/** A request field has the wrong type, value or size. */
export class InvalidInputError extends AppError {
  readonly code = 'invalid_input'
  readonly status = 400
}

/** More tokens than the model takes while the caller asked for no truncation. */
export class InputTooLongError extends AppError {
  readonly code = 'input_too_long'
  readonly status = 400
}

/** Image bytes of a kind this service does not decode. */
export class UnsupportedImageError extends AppError {
  readonly code = 'unsupported_image'
  readonly status = 415
}

/** Image bytes that claim a known kind and do not hold to it: truncated or damaged. */
export class CorruptImageError extends AppError {
  readonly code = 'corrupt_image'
  readonly status = 422
}

/** More pixels or bytes than one decode may take. */
export class ImageTooLargeError extends AppError {
  readonly code = 'image_too_large'
  readonly status = 413
}

/** Internal: a tensor, pointer or buffer does not have the shape its consumer needs. */
export class ShapeMismatchError extends AppError {
  readonly code = 'shape_mismatch'
  readonly status = 500
  override readonly type = 'server_error'
}

/** Internal: linear memory would pass its declared maximum. */
export class OutOfMemoryError extends AppError {
  readonly code = 'out_of_memory'
  readonly status = 500
  override readonly type = 'server_error'
}

/** The model package is not what its manifest says: format, tensor or hash. */
export class ModelPackageError extends AppError {
  readonly code = 'model_package_invalid'
  readonly status = 500
  override readonly type = 'server_error'
}

/** A file of the package is not what its manifest promises, or no weights at all: known only when all of it has been read. */
export class ModelContentError extends ModelPackageError {}

/** The package is sound, and too large for the memory that its encoder has. */
export class ModelTooLargeError extends ModelPackageError {}

/** Loading failed at full cost more than once; until `retryAfterSeconds` have passed it is not tried again. */
export class LoadPausedError extends AppError {
  readonly code = 'model_load_paused'
  readonly status = 503
  override readonly type = 'service_unavailable'
  override readonly retryAfterSeconds: number

  constructor(message: string, retryAfterSeconds: number, options: AppErrorOptions = {}) {
    super(message, options)
    this.retryAfterSeconds = retryAfterSeconds
  }
}

/** The model package is of a kind that this engine does not read: a later format, an unknown scheme. */
export class UnsupportedPackageError extends AppError {
  readonly code = 'model_package_unsupported'
  readonly status = 500
  override readonly type = 'server_error'
}

/** The model package, or a file of it, is not there or broke off; the next request tries again. */
export class ModelUnavailableError extends AppError {
  readonly code = 'model_unavailable'
  readonly status = 503
  override readonly type = 'service_unavailable'
  override readonly retryAfterSeconds = 5
}

/** An error that another Worker reported: its class was lost on the way, its facts were not. */
export class RemoteError extends AppError {
  readonly code: string
  readonly status: number
  override readonly type: ErrorType
  override readonly retryAfterSeconds: number | undefined
  override readonly isFinal: boolean

  constructor(detail: ErrorDetail, options: AppErrorOptions = {}) {
    super(detail.message, options)
    this.code = detail.code
    this.status = detail.status
    this.type = detail.type
    this.retryAfterSeconds = detail.retryAfterSeconds
    this.isFinal = detail.isFinal ?? false
  }
}

/** The body is not JSON in UTF-8. */
export class InvalidJsonError extends AppError {
  readonly code = 'invalid_json'
  readonly status = 400
}

/** A picture's text form is not base64. */
export class InvalidBase64Error extends AppError {
  readonly code = 'invalid_base64'
  readonly status = 400
}

/** More items than one request may carry. */
export class TooManyItemsError extends AppError {
  readonly code = 'too_many_items'
  readonly status = 400
}

/** Vectors are asked for in a length that the model was not trained for. */
export class UnsupportedDimensionsError extends AppError {
  readonly code = 'unsupported_dimensions'
  readonly status = 400
}

/** This deployment does not fetch pictures, or not from there. */
export class ImageUrlRefusedError extends AppError {
  readonly code = 'image_url_refused'
  readonly status = 400
}

/** The picture's server did not deliver it. */
export class ImageFetchError extends AppError {
  readonly code = 'image_fetch_failed'
  readonly status = 422
}

/** No model of that name is served here. */
export class ModelNotFoundError extends AppError {
  readonly code = 'model_not_found'
  readonly status = 404
  override readonly type = 'not_found_error'
}

/** No such route. */
export class RouteNotFoundError extends AppError {
  readonly code = 'route_not_found'
  readonly status = 404
  override readonly type = 'not_found_error'
}

/** The route exists, the method on it does not. */
export class MethodNotAllowedError extends AppError {
  readonly code = 'method_not_allowed'
  readonly status = 405
  readonly allowed: readonly string[]

  constructor(method: string, allowed: readonly string[]) {
    super(`${method} is not offered here; expected one of ${allowed.join(', ')}`)
    this.allowed = allowed
  }
}

/** The request's body is of a kind this route does not read. */
export class UnsupportedMediaTypeError extends AppError {
  readonly code = 'unsupported_media_type'
  readonly status = 415
}

/** The request's body is longer than the service reads. */
export class BodyTooLargeError extends AppError {
  readonly code = 'body_too_large'
  readonly status = 413
}

/** No byte of the content lies in the range asked for. */
export class RangeNotSatisfiableError extends AppError {
  readonly code = 'range_not_satisfiable'
  readonly status = 416
}

/** The answer would be longer than the service builds in memory. */
export class ResponseTooLargeError extends AppError {
  readonly code = 'response_too_large'
  readonly status = 413
}

/** The work asked for would pass the CPU limit of an edge request. */
export class RequestTooCostlyError extends AppError {
  readonly code = 'request_too_costly'
  readonly status = 413
}

/** No key was sent where one is needed. */
export class MissingApiKeyError extends AppError {
  readonly code = 'missing_api_key'
  readonly status = 401
  override readonly type = 'authentication_error'
}

/** The key sent is not one of this deployment's. */
export class InvalidApiKeyError extends AppError {
  readonly code = 'invalid_api_key'
  readonly status = 401
  override readonly type = 'authentication_error'
}

/** The key is good, and does not open this route. */
export class InsufficientScopeError extends AppError {
  readonly code = 'insufficient_scope'
  readonly status = 403
  override readonly type = 'permission_error'
}

/** The queue in front of an encoder is full. */
export class OverloadedError extends AppError {
  readonly code = 'overloaded'
  readonly status = 503
  override readonly type = 'service_unavailable'
  override readonly retryAfterSeconds = 1
}

/** A Worker that this one needs does not answer, or answers for another model. */
export class WorkerUnavailableError extends AppError {
  readonly code = 'worker_unavailable'
  readonly status = 503
  override readonly type = 'service_unavailable'
  override readonly retryAfterSeconds = 5
}

/** The deployment's own settings cannot be read. */
export class MisconfiguredError extends AppError {
  readonly code = 'misconfigured'
  readonly status = 500
  override readonly type = 'server_error'
}

/** The client went away before its answer was ready; nobody reads this but the log. */
export class ClientClosedRequestError extends AppError {
  readonly code = 'client_closed_request'
  readonly status = 499
}

/** Anything that was not foreseen. The message says nothing of the cause; the log does. */
export class InternalError extends AppError {
  readonly code = 'internal_error'
  readonly status = 500
  override readonly type = 'server_error'
}

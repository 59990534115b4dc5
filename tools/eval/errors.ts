// What stops an evaluation. Each class has a stable code.
import { AppError } from '../../src/errors.ts'

abstract class EvaluationError extends AppError {
  readonly status = 500
  override readonly type = 'server_error'
}

/** The data set has not been made on this machine. */
export class DataMissingError extends EvaluationError {
  readonly code = 'data_missing'
}

/** The data set is there and does not give what a split needs. */
export class EvaluationDataError extends EvaluationError {
  readonly code = 'evaluation_data_invalid'
}

/** The fp32 checkpoint of a package is not on this machine. */
export class CheckpointMissingError extends EvaluationError {
  readonly code = 'checkpoint_missing'
}

/** An engine did not give one vector per item. */
export class EngineFailedError extends EvaluationError {
  readonly code = 'engine_failed'
}

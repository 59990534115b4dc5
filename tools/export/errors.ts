// What stops an export or an import. Each class has a stable code.
import { AppError } from '../../src/errors.ts'

abstract class ExportError extends AppError {
  readonly status = 500
  override readonly type = 'server_error'
}

/** A Python step ended with an error, which it printed. */
export class PythonStepError extends ExportError {
  readonly code = 'python_step_failed'
}

/** The reference vectors are not what the measurement needs. */
export class ParityVectorsError extends ExportError {
  readonly code = 'parity_vectors_invalid'
}

/** The account of where a checkpoint comes from cannot be read. */
export class ProvenanceError extends ExportError {
  readonly code = 'provenance_invalid'
}

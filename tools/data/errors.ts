// What can go wrong while the data set is prepared. Each class has a stable code, so a script or a person
// can tell a network failure from a package that is not the pinned one.

import { AppError } from '../../src/errors.ts'

abstract class DataError extends AppError {
  readonly status = 500
  override readonly type = 'server_error'
}

/** A program that the preparation calls (npm, apt-get, dpkg-deb) is missing or failed. */
export class FetchFailedError extends DataError {
  readonly code = 'fetch_failed'
}

/** Downloaded bytes are not the pinned ones. */
export class HashMismatchError extends DataError {
  readonly code = 'hash_mismatch'
}

/** An archive, or a file inside it, does not have the format its reader knows. */
export class ArchiveError extends DataError {
  readonly code = 'archive_invalid'
}

/** A held-out family or style would have reached the training split. */
export class SplitLeakError extends DataError {
  readonly code = 'split_leak'
}

/** A picture could not be rasterised. */
export class RenderError extends DataError {
  readonly code = 'render_failed'
}

/** Pinned inputs gave other rows than the frozen ones: the code changed the data set. */
export class DataSetChangedError extends DataError {
  readonly code = 'data_set_changed'
}

/** A labelled set has an item that no evaluation may rest on. */
export class LabelledDataError extends DataError {
  readonly code = 'labelled_data_invalid'
}

// Files of a project: bytes in the object store under an id of ours, everything else in the broker's index.

import { newId } from '../jobs/ids.ts'
import type { FileRecord, UploadPurpose } from '../jobs/job.ts'
import { fileKey } from '../jobs/object-keys.ts'
import { ResourceNotFoundError } from '../jobs/errors.ts'
import { toFilename } from './filename.ts'
import type { JobDependencies } from './job-dependencies.ts'
import { writeThenName } from './unnamed-object.ts'

/** The longest request body of Cloudflare's smaller plans is 100 MB. Larger files come as uploads, in parts. */
export const MAX_FILE_BYTES = 90 * 1024 * 1024

export type FileDependencies = Pick<JobDependencies, 'broker' | 'objects' | 'nowMs' | 'randomHex'>

export interface StoredBytes {
  bytes: number
  sha256: string
}

/** A file whose bytes were received, with what its sender says of it. */
export interface ReceivedFile {
  stored: StoredBytes
  filename: string
  purpose: UploadPurpose
  /** Null: it is kept until it is deleted. */
  expiresAfterSeconds: number | null
}

export interface ByteRange {
  offset: number
  length: number
}

export interface FileContent {
  body: ReadableStream<Uint8Array>
  bytes: number
}

/**
 * Keeps a file that arrives.
 * @param receive reads the request and hands the file's bytes to `store`, which passes them on as they come
 */
export function createFile(
  { broker, objects, nowMs, randomHex }: FileDependencies,
  project: string,
  receive: (store: (body: ReadableStream<Uint8Array>) => Promise<StoredBytes>) => Promise<ReceivedFile>,
): Promise<FileRecord> {
  const id = newId('file', randomHex)
  const key = fileKey(id)
  return writeThenName(
    broker,
    key,
    () => receive((body) => objects.putUnsized(key, body, MAX_FILE_BYTES)),
    ({ stored, filename, purpose, expiresAfterSeconds }) => {
      const createdAtMs = nowMs()
      return broker.createFile({
        id,
        project,
        key,
        bytes: stored.bytes,
        sha256: stored.sha256,
        filename: toFilename(filename),
        purpose,
        createdAtMs,
        expiresAtMs: expiryOf(createdAtMs, expiresAfterSeconds),
      })
    },
  )
}

/** Milliseconds since 1970, or null for never. */
export function expiryOf(createdAtMs: number, expiresAfterSeconds: number | null): number | null {
  return expiresAfterSeconds === null ? null : createdAtMs + expiresAfterSeconds * 1000
}

/** @throws ResourceNotFoundError when the object went while it was asked for */
export async function openContent(
  { objects }: Pick<FileDependencies, 'objects'>,
  file: FileRecord,
  range: ByteRange | undefined,
): Promise<FileContent> {
  const content = await objects.get(file.key, range)
  if (content === undefined) throw new ResourceNotFoundError('the file is being deleted')
  return content
}

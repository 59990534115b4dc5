// A file that comes in parts: each is an object of its own, in any order and of any size; completing streams them in the
// order asked for into one object of a length that is known beforehand.

import { createHash } from 'node:crypto'
import { InvalidInputError } from '../errors.ts'
import { UploadStateError } from '../jobs/errors.ts'
import { newId } from '../jobs/ids.ts'
import type { FileRecord, UploadPart, UploadPurpose, UploadRecord } from '../jobs/job.ts'
import { fileKey, partKey } from '../jobs/object-keys.ts'
import type { ObjectStore, UploadCompletion } from '../jobs/ports.ts'
import { inPieces } from './byte-pieces.ts'
import { toFilename } from './filename.ts'
import { expiryOf, type FileDependencies, type StoredBytes } from './files.ts'
import { writeThenName } from './unnamed-object.ts'

/** OpenAI's limit; a request body of Cloudflare's smaller plans ends at 100 MB. */
export const MAX_PART_BYTES = 64 * 1024 * 1024
/** One object of R2 is written in one go up to 4.995 GiB. */
export const MAX_UPLOAD_BYTES = 4 * 1024 ** 3
/** OpenAI's own. */
const UPLOAD_LIFE_MS = 3_600_000

export interface UploadRequest {
  filename: string
  purpose: UploadPurpose
  bytes: number
  mimeType: string
  expiresAfterSeconds: number | null
}

export interface CompletedUpload {
  upload: UploadRecord
  file: FileRecord
}

export function createUpload(
  { broker, nowMs, randomHex }: FileDependencies,
  project: string,
  request: UploadRequest,
): Promise<UploadRecord> {
  const createdAtMs = nowMs()
  return broker.createUpload({
    id: newId('upload', randomHex),
    project,
    status: 'pending',
    bytes: request.bytes,
    filename: toFilename(request.filename),
    mimeType: request.mimeType,
    purpose: request.purpose,
    createdAtMs,
    expiresAtMs: createdAtMs + UPLOAD_LIFE_MS,
    fileExpiresAfterSeconds: request.expiresAfterSeconds,
    fileId: null,
  })
}

/**
 * @param receive reads the request and hands the part's bytes to `store`
 * @throws ResourceNotFoundError; UploadStateError before anything is read, when the upload is not pending
 */
export async function addPart(
  { broker, objects, nowMs, randomHex }: FileDependencies,
  { project, uploadId }: { project: string; uploadId: string },
  receive: (store: (body: ReadableStream<Uint8Array>) => Promise<StoredBytes>) => Promise<StoredBytes>,
): Promise<UploadPart> {
  checkPending(await broker.getUpload(project, uploadId), nowMs())
  const id = newId('part', randomHex)
  const key = partKey(uploadId, id)
  return writeThenName(
    broker,
    key,
    () => receive((body) => objects.putUnsized(key, body, MAX_PART_BYTES)),
    ({ bytes }) => broker.addPart(project, uploadId, { id, key, bytes, createdAtMs: nowMs() }),
  )
}

/**
 * The same parts in the same order again are answered as before: a client may not have heard that they became a file.
 * @param md5 of the whole, 32 lower-case hex digits; undefined for no check
 * @throws ResourceNotFoundError, UploadStateError; InvalidInputError when parts, length or hash are not what they should be,
 *   after which the upload is as it was
 */
export async function completeUpload(
  deps: FileDependencies,
  place: { project: string; uploadId: string },
  { partIds, md5 }: { partIds: readonly string[]; md5: string | undefined },
): Promise<CompletedUpload> {
  const completion = { ...place, partIds }
  const earlier = await deps.broker.completedUpload(completion)
  if (earlier !== undefined) return earlier
  try {
    return await joinParts(deps, completion, md5)
  } catch (error) {
    // The same request, sent twice, may have been first.
    const theirs = await deps.broker.completedUpload(completion)
    if (theirs === undefined) throw error
    return theirs
  }
}

async function joinParts(
  { broker, objects, nowMs, randomHex }: FileDependencies,
  completion: UploadCompletion,
  md5: string | undefined,
): Promise<CompletedUpload> {
  const { project, uploadId, partIds } = completion
  const upload = await broker.getUpload(project, uploadId)
  checkPending(upload, nowMs())
  const parts = await broker.partsOf(project, uploadId, partIds)
  const bytes = parts.reduce((sum, part) => sum + part.bytes, 0)
  if (bytes !== upload.bytes) {
    throw new InvalidInputError(`part_ids: expected parts of ${upload.bytes} bytes in all, got ${bytes}`, {
      param: 'part_ids',
    })
  }
  const id = newId('file', randomHex)
  const key = fileKey(id)
  return writeThenName(
    broker,
    key,
    () => concatenate(objects, { parts, key, bytes, md5 }),
    async ({ sha256 }) => {
      const createdAtMs = nowMs()
      const file: FileRecord = {
        id,
        project,
        key,
        bytes,
        sha256,
        filename: upload.filename,
        purpose: upload.purpose,
        createdAtMs,
        expiresAtMs: expiryOf(createdAtMs, upload.fileExpiresAfterSeconds),
      }
      return { upload: await broker.completeUpload(completion, file), file }
    },
  )
}

async function concatenate(
  objects: ObjectStore,
  { parts, key, bytes, md5 }: { parts: readonly UploadPart[]; key: string; bytes: number; md5: string | undefined },
): Promise<StoredBytes> {
  const hash = md5 === undefined ? undefined : createHash('md5')
  const stored = await objects.put(key, streamParts(objects, parts, hash), bytes)
  const got = hash?.digest('hex')
  if (got === md5) return stored
  throw new InvalidInputError(`md5: expected what was sent, ${md5}, the parts in this order have ${got}`, {
    param: 'md5',
  })
}

/** One part after the other; the next is opened when the one before has been read. A piece is valid until the next read. */
function streamParts(
  objects: ObjectStore,
  parts: readonly UploadPart[],
  hash: { update(bytes: Uint8Array): unknown } | undefined,
): ReadableStream<Uint8Array> {
  const chunks = readParts(objects, parts)
  return new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        const next = await chunks.next()
        if (next.done === true) return controller.close()
        hash?.update(next.value)
        controller.enqueue(next.value)
      },
      async cancel() {
        await chunks.return(undefined)
      },
    },
    { highWaterMark: 0 },
  )
}

async function* readParts(
  objects: ObjectStore,
  parts: readonly UploadPart[],
): AsyncGenerator<Uint8Array, undefined, undefined> {
  for (const { key } of parts) {
    const part = await objects.get(key)
    // Cancelled, or completed by another request, since its parts were looked up.
    if (part === undefined) throw new UploadStateError('the upload came to its end while it was being completed')
    yield* inPieces(part.body, 'shared')
  }
}

/** @throws UploadStateError */
function checkPending({ status, expiresAtMs }: UploadRecord, nowMs: number): void {
  const now = status === 'pending' && expiresAtMs <= nowMs ? 'expired' : status
  if (now !== 'pending') throw new UploadStateError(`expected an upload that is pending, this one is ${now}`)
}

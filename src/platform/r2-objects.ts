// The ObjectStore port on an R2 bucket. Bytes stream through in pieces and are hashed as they pass; nothing is held whole.

import { BodyTooLargeError, InvalidInputError } from '../errors.ts'
import type { ObjectStore } from '../jobs/ports.ts'
import { createSha256 } from './digest.ts'
import { inLargeChunks } from './large-chunks.ts'

/** R2 wants parts of one size, 5 MiB at least; with 10,000 of them an object may have 78 GiB. */
const PART_BYTES = 8 * 1024 * 1024
/**
 * After so much others get their turn: local R2 lies in the same process and always has a next piece, so that no heartbeat
 * would get through while a checkpoint of gigabytes is hashed.
 */
const TURN_BYTES = 1024 * 1024
/** What one call may delete, and what one listing holds at most. */
const MAX_KEYS = 1000

type Stored = { bytes: number; sha256: string }

export function r2Objects(bucket: R2Bucket): ObjectStore {
  return {
    put: (key, body, bytes) => putSized(bucket, key, body, bytes),
    putUnsized: (key, body, maxBytes) => putInParts(bucket, key, body, maxBytes),
    async get(key, range) {
      const object = range === undefined ? await bucket.get(key) : await bucket.get(key, { range })
      if (object === null) return undefined
      return { body: object.body, bytes: object.size }
    },
    async digest(key) {
      const object = await bucket.get(key)
      if (object === null) return undefined
      const sha256 = createSha256()
      let read = 0
      for await (const chunk of inLargeChunks(object.body)) {
        await sha256.update(chunk)
        read += chunk.byteLength
        if (read % TURN_BYTES < chunk.byteLength) await scheduler.wait(0)
      }
      return { bytes: object.size, sha256: await sha256.hex() }
    },
    async delete(keys) {
      const plain = keys.filter((key) => !key.endsWith('/'))
      for (let start = 0; start < plain.length; start += MAX_KEYS) {
        await bucket.delete(plain.slice(start, start + MAX_KEYS))
      }
      for (const prefix of keys.filter((key) => key.endsWith('/'))) await deleteBelow(bucket, prefix)
    },
  }
}

async function putSized(
  bucket: R2Bucket,
  key: string,
  body: ReadableStream<Uint8Array>,
  bytes: number,
): Promise<Stored> {
  const { readable, writable } = new FixedLengthStream(bytes)
  const [hashed, stored] = await Promise.allSettled([hashInto(body, writable, bytes), bucket.put(key, readable)])
  // What the sender did wrong explains why R2 got too little, so it is told first.
  if (hashed.status === 'rejected') throw hashed.reason
  if (stored.status === 'rejected') throw stored.reason
  return { bytes, sha256: hashed.value }
}

/** @throws InvalidInputError when the body is not of that length */
async function hashInto(
  body: ReadableStream<Uint8Array>,
  writable: WritableStream<Uint8Array>,
  bytes: number,
): Promise<string> {
  const sha256 = createSha256()
  const writer = writable.getWriter()
  let length = 0
  try {
    for await (const chunk of inPieces(body)) {
      length += chunk.byteLength
      if (length > bytes) throw new InvalidInputError(`expected ${bytes} bytes, got more`)
      await Promise.all([writer.write(chunk), sha256.update(chunk)])
    }
    if (length < bytes) throw new InvalidInputError(`expected ${bytes} bytes, got ${length}`)
    await writer.close()
    return await sha256.hex()
  } catch (error) {
    await writer.abort(error).catch(() => undefined)
    throw error
  }
}

async function putInParts(
  bucket: R2Bucket,
  key: string,
  body: ReadableStream<Uint8Array>,
  maxBytes: number,
): Promise<Stored> {
  const sha256 = createSha256()
  const buffer = new Uint8Array(PART_BYTES)
  const parts: R2UploadedPart[] = []
  let upload: R2MultipartUpload | undefined
  let [filled, bytes] = [0, 0]
  try {
    for await (const chunk of inPieces(body)) {
      bytes += chunk.byteLength
      if (bytes > maxBytes) throw new BodyTooLargeError(`expected at most ${maxBytes} bytes, got more`)
      await sha256.update(chunk)
      for (let taken = 0; taken < chunk.byteLength;) {
        const piece = chunk.subarray(taken, taken + PART_BYTES - filled)
        buffer.set(piece, filled)
        filled += piece.byteLength
        taken += piece.byteLength
        if (filled < PART_BYTES) continue
        upload ??= await bucket.createMultipartUpload(key)
        parts.push(await upload.uploadPart(parts.length + 1, buffer))
        filled = 0
      }
    }
    const rest = buffer.subarray(0, filled)
    if (upload === undefined) await bucket.put(key, rest)
    else {
      if (filled > 0) parts.push(await upload.uploadPart(parts.length + 1, rest))
      await upload.complete(parts)
    }
    return { bytes, sha256: await sha256.hex() }
  } catch (error) {
    await upload?.abort()
    throw error
  }
}

/** Large pieces where the runtime can fill a buffer of ours; a stream that JavaScript makes comes as it is. */
function inPieces(body: ReadableStream<Uint8Array>): ReadableStream<Uint8Array> {
  try {
    return inLargeChunks(body)
  } catch {
    return body
  }
}

async function deleteBelow(bucket: R2Bucket, prefix: string): Promise<void> {
  for (;;) {
    const { objects } = await bucket.list({ prefix, limit: MAX_KEYS })
    if (objects.length === 0) return
    await bucket.delete(objects.map(({ key }) => key))
  }
}

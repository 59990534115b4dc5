// The first line of a JSON Lines file in the bucket, read no further than it reaches.

import { InvalidInputError } from '../errors.ts'
import type { FileRecord } from '../jobs/job.ts'
import type { ObjectStore } from '../jobs/ports.ts'
import { concatBytes } from './concat-bytes.ts'

const LINE_FEED = 0x0a

/**
 * @param param the request field that names the file, for errors
 * @throws InvalidInputError when the file is empty, gone, or its first line longer than `maxBytes`
 */
export async function readFirstLine(
  file: FileRecord,
  objects: ObjectStore,
  { maxBytes, param }: { maxBytes: number; param: string },
): Promise<string> {
  if (file.bytes === 0) throw new InvalidInputError(`${param}: the file is empty`, { param })
  const length = Math.min(file.bytes, maxBytes)
  const object = await objects.get(file.key, { offset: 0, length })
  if (object === undefined) throw new InvalidInputError(`${param}: the file's content is gone`, { param })
  const chunks: Uint8Array[] = []
  let read = 0
  for await (const chunk of object.body) {
    const end = chunk.indexOf(LINE_FEED)
    const piece = end === -1 ? chunk : chunk.subarray(0, end)
    chunks.push(piece)
    read += piece.byteLength
    // Leaving the loop cancels the rest of the stream.
    if (end !== -1) return decode(concatBytes(chunks, read), param)
  }
  if (length < file.bytes) {
    throw new InvalidInputError(`${param}: line 1: expected at most ${maxBytes} bytes`, { param })
  }
  return decode(concatBytes(chunks, read), param)
}

function decode(bytes: Uint8Array, param: string): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: false }).decode(bytes)
  } catch {
    throw new InvalidInputError(`${param}: line 1: expected UTF-8`, { param })
  }
}

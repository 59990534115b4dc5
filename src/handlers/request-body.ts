// Reads a request's body up to a limit, counted as it arrives: content-length may be absent or wrong.

import { BodyTooLargeError, InvalidInputError, InvalidJsonError, UnsupportedMediaTypeError } from '../errors.ts'
import { concatBytes } from '../services/concat-bytes.ts'
import type { AppContext } from './context.ts'

export const MAX_BODY_BYTES = 20 * 1024 * 1024

/** @throws BodyTooLargeError, InvalidInputError when there is none */
export async function readBytes(c: AppContext): Promise<Uint8Array> {
  const announced = Number(c.req.header('content-length') ?? 0)
  if (announced > MAX_BODY_BYTES) throw tooLarge(`${announced} bytes announced`)
  const { body } = c.req.raw
  const chunks: Uint8Array[] = []
  let length = 0
  if (body !== null) {
    for await (const chunk of body) {
      length += chunk.byteLength
      if (length > MAX_BODY_BYTES) throw tooLarge('more was sent')
      chunks.push(chunk)
    }
  }
  if (length === 0) throw new InvalidInputError('expected a request body, got none')
  return concatBytes(chunks, length)
}

/** @throws InvalidJsonError besides what readBytes throws */
export async function readJson(c: AppContext): Promise<unknown> {
  return parseJson(await readBytes(c))
}

/** @throws InvalidJsonError */
export function parseJson(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true, ignoreBOM: false }).decode(bytes))
  } catch {
    // The parser's message quotes the body, which is the caller's content.
    throw new InvalidJsonError('the body is not valid JSON in UTF-8')
  }
}

/** @throws UnsupportedMediaTypeError unless the body calls itself JSON */
export function expectJson(c: AppContext): void {
  const mediaType = c.req.header('content-type')?.split(';')[0]?.trim().toLowerCase()
  if (mediaType === 'application/json') return
  const got = mediaType === undefined ? 'none' : 'another'
  throw new UnsupportedMediaTypeError(`content-type: expected application/json, got ${got}`)
}

function tooLarge(what: string): BodyTooLargeError {
  return new BodyTooLargeError(`expected a body of at most ${MAX_BODY_BYTES} bytes (20 MiB), ${what}`)
}

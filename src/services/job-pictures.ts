// Pictures on their way into a job, in the text form in which its input carries them. Refused by their header where a
// worker would refuse them later.

import { Buffer } from 'node:buffer'
import { AppError, RemoteError } from '../errors.ts'
import { DEFAULT_MAX_IMAGE_PIXELS } from '../image/decode-memory.ts'
import { assertPixelLimit, readImageHeader } from '../image/header.ts'
import { collectPictures, type ImageFetching, type PictureSource } from './collect-pictures.ts'

/** A picture of a job's request. Its bytes are not kept: the request's own text is what goes on. */
export type JobPicture = { param: string } & ({ kind: 'base64'; base64: string } | { kind: 'imageUrl'; url: string })

/**
 * @param base64 the text that the bytes came from, where it is in canonical form: spares a second one in memory
 * @throws UnsupportedImageError, CorruptImageError, ImageTooLargeError with the picture's place
 */
export function toJobPicture(source: PictureSource, base64: string | undefined): JobPicture {
  if (source.kind === 'imageUrl') return source
  const { bytes, param } = source
  checkHeader(bytes, param)
  return { kind: 'base64', base64: base64 ?? encode(bytes), param }
}

/**
 * @returns base64 of each picture, in order
 * @throws what fetching throws, and what toJobPicture throws of pictures that were fetched
 */
export async function encodePictures(
  pictures: readonly JobPicture[],
  fetching: ImageFetching | undefined,
  signal: AbortSignal,
): Promise<string[]> {
  const named = pictures.filter((picture) => picture.kind === 'imageUrl')
  const fetched = (await collectPictures(named, fetching, signal)).values()
  return pictures.map((picture) => {
    if (picture.kind === 'base64') return picture.base64
    const bytes = fetched.next().value ?? new Uint8Array()
    checkHeader(bytes, picture.param)
    return encode(bytes)
  })
}

function checkHeader(bytes: Uint8Array, param: string): void {
  try {
    assertPixelLimit(readImageHeader(bytes), DEFAULT_MAX_IMAGE_PIXELS)
  } catch (error) {
    if (!(error instanceof AppError)) throw error
    const message = `${param}: ${error.message.replace(/^image: /, '')}`
    throw new RemoteError({ ...error.toDetail(), message }, { param, cause: error })
  }
}

function encode(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('base64')
}

// Pictures on their way into a job: collected, refused by their header where a worker would refuse them later, and put
// into the text form in which a job's input carries them.

import { Buffer } from 'node:buffer'
import { AppError, RemoteError } from '../errors.ts'
import { DEFAULT_MAX_IMAGE_PIXELS } from '../image/decode-memory.ts'
import { assertPixelLimit, readImageHeader } from '../image/header.ts'
import { collectPictures, type ImageFetching, type PictureSource } from './collect-pictures.ts'

/**
 * @returns base64 of each picture's bytes, in order
 * @throws UnsupportedImageError, CorruptImageError, ImageTooLargeError with the picture's place; what fetching throws
 */
export async function encodePictures(
  sources: readonly PictureSource[],
  fetching: ImageFetching | undefined,
  signal: AbortSignal,
): Promise<string[]> {
  const pictures = await collectPictures(sources, fetching, signal)
  return pictures.map((bytes, index) => {
    checkHeader(bytes, sources[index]?.param ?? '')
    return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('base64')
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

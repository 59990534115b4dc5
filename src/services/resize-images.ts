// What the pixels Worker does with one call: each picture decoded and resized, one after the other.

import { AppError, RemoteError } from '../errors.ts'
import { decodeAndResize } from '../image/decode.ts'
import type { ImageDecoders } from '../image/image-decoders.ts'
import { concatBytes } from './fetch-image.ts'
import type { ResizeImagesReply, ResizeImagesRequest } from './inner-workers.ts'

/** @throws UnsupportedImageError, CorruptImageError, ImageTooLargeError as RemoteError with the picture's index */
export async function resizeImages(
  decoders: ImageDecoders,
  request: ResizeImagesRequest,
  maxPixels: number,
): Promise<ResizeImagesReply> {
  const pictures: Uint8Array[] = []
  const items: ResizeImagesReply['items'] = []
  for (const [index, image] of request.images.entries()) {
    try {
      const { rgb, width, height, format } = await decodeAndResize(image, decoders, { maxPixels }, request.size)
      pictures.push(rgb)
      items.push({ width, height, format })
    } catch (error) {
      if (error instanceof AppError) throw new RemoteError(error.toDetail(), { index, cause: error })
      throw error
    }
  }
  return { rgb: concatBytes(pictures, pictures.length * request.size ** 2 * 3), items }
}

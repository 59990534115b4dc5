// What the pixels Worker does with one call: each picture decoded and resized, one after the other.

import { AppError, RemoteError } from '../errors.ts'
import { DECODE_BUDGET_BYTES } from '../image/decode-memory.ts'
import { decodeAndResize } from '../image/decode.ts'
import type { ImageDecoders } from '../image/image-decoders.ts'
import { concatBytes } from './concat-bytes.ts'
import type { ResizeImagesReply, ResizeImagesRequest } from './inner-workers.ts'

/** @throws UnsupportedImageError, CorruptImageError, ImageTooLargeError as RemoteError with the picture's index */
export async function resizeImages(
  decoders: ImageDecoders,
  { images, size }: ResizeImagesRequest,
  maxPixels: number,
): Promise<ResizeImagesReply> {
  const pictureBytes = size ** 2 * 3
  const fileBytes = images.reduce((sum, image) => sum + image.byteLength, 0)
  const pictures: Uint8Array[] = []
  const items: ResizeImagesReply['items'] = []
  for (const [index, image] of images.entries()) {
    // A decode's own estimate counts its file alone; the call's other files and what is done so far lie beside it.
    const heldBytes = fileBytes - image.byteLength + index * pictureBytes
    const limits = { maxPixels, maxBytes: DECODE_BUDGET_BYTES - heldBytes }
    try {
      const { rgb, width, height, format } = await decodeAndResize(image, decoders, limits, size)
      pictures.push(rgb)
      items.push({ width, height, format })
    } catch (error) {
      if (error instanceof AppError) throw new RemoteError(error.toDetail(), { index, cause: error })
      throw error
    }
  }
  return { rgb: concatBytes(pictures, pictures.length * pictureBytes), items }
}

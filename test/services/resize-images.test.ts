// One call of the pixels Worker: order, the refused picture's index, and memory counted over the whole call.

import { expect, test } from 'vitest'
import { resizeImages } from '../../src/services/resize-images.ts'
import { newDecoders } from '../image/fixtures.ts'
import { makePicture, makePlainPng } from '../pictures.ts'

const MEBIBYTE = 1024 * 1024
const MAX_PIXELS = 12_582_912
const SIZE = 32
const trace = { requestId: 'test', traceparent: '' }

function resize(images: Uint8Array[]): ReturnType<typeof resizeImages> {
  return resizeImages(newDecoders(), { images, size: SIZE, trace }, MAX_PIXELS)
}

test('pictures come back in order, each as it comes alone', async () => {
  const images = [await makePicture('png', 40), await makePicture('webp', 50, 2)]
  const { rgb, items } = await resize(images)
  const alone = await Promise.all(images.map((image) => resize([image])))
  expect(items).toEqual([
    { width: 40, height: 40, format: 'png' },
    { width: 50, height: 50, format: 'webp' },
  ])
  expect(Buffer.concat(alone.map((reply) => reply.rgb)).equals(rgb)).toBe(true)
})

test('a decode that fits alone is refused, by its index, beside files that leave too little of 112 MiB', async () => {
  const large = await makePlainPng(3500, 3500)
  const small = await makePicture('png')
  // Bytes behind a PNG's end are no part of the picture, but they are held all the same.
  const heavy = new Uint8Array(16 * MEBIBYTE)
  heavy.set(small)
  await expect(resize([large, small])).resolves.toMatchObject({ items: [{ width: 3500 }, { width: 48 }] })
  await expect(resize([small, large, heavy, heavy, heavy, heavy])).rejects.toMatchObject({
    code: 'image_too_large',
    status: 413,
    index: 1,
  })
})

// Runs all parity inputs through a loaded package, in batches as the service would, and gives the projected vectors.
import { encodeImage } from '../../src/flava/image-encoder.ts'
import { encodeText } from '../../src/flava/text-encoder.ts'
import type { TokenSequence } from '../../src/flava/text-encoder.ts'
import { normalizePixels } from '../../src/image/normalize.ts'
import type { LoadedModel } from '../model/load-model.ts'

const BATCH = 32

/** Projected vectors, f32 [projectionSize] each, not normalized. */
export function encodeTexts({ text }: LoadedModel, sequences: readonly TokenSequence[]): Float32Array[] {
  return batches(sequences.length).flatMap(([start, end]) =>
    encodeText(text, sequences.slice(start, end), 'projected').map(({ data }) => data),
  )
}

/** @param rgb u8 [count, imageSize, imageSize, 3] */
export function encodePictures({ image, manifest }: LoadedModel, rgb: Uint8Array, count: number): Float32Array[] {
  const { size, mean, std } = manifest.preprocessing
  const pictureBytes = size * size * image.config.numChannels
  return batches(count).flatMap(([start, end]) => {
    const bytes = rgb.subarray(start * pictureBytes, end * pictureBytes)
    const pixelValues = normalizePixels(bytes, end - start, size, mean, std)
    return encodeImage(image, pixelValues, end - start, 'projected').map(({ data }) => data)
  })
}

function batches(count: number): [start: number, end: number][] {
  return Array.from({ length: Math.ceil(count / BATCH) }, (_, index) => [
    index * BATCH,
    Math.min((index + 1) * BATCH, count),
  ])
}

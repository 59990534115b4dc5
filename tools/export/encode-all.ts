// Runs all parity inputs through a loaded package, in batches as the service would.
import { encodeImage } from '../../src/flava/image-encoder.ts'
import type { EncoderOutput } from '../../src/flava/encoder-output.ts'
import { encodeText } from '../../src/flava/text-encoder.ts'
import type { TokenSequence } from '../../src/flava/text-encoder.ts'
import { normalizePixels } from '../../src/image/normalize.ts'
import type { LoadedImage, LoadedText } from '../model/load-model.ts'

const TEXTS_PER_BATCH = 32
/** Few, so that progress shows at full geometry; a picture fills the GEMMs by itself. */
const PICTURES_PER_BATCH = 8

export interface EncodeOptions {
  /** Default: projected vectors, f32 [projectionSize] each, not normalized. */
  output?: EncoderOutput
  onProgress?: (done: number) => void
}

/** One vector per sequence, in order. */
export function encodeTexts(
  { text }: LoadedText,
  sequences: readonly TokenSequence[],
  { output = 'projected', onProgress }: EncodeOptions = {},
): Float32Array[] {
  return batches(sequences.length, TEXTS_PER_BATCH).flatMap(([start, end]) => {
    const items = encodeText(text, sequences.slice(start, end), output)
    onProgress?.(end)
    return items.map(({ data }) => data)
  })
}

/** @param rgb u8 [count, imageSize, imageSize, 3] */
export function encodePictures(
  { image, manifest }: LoadedImage,
  rgb: Uint8Array,
  count: number,
  { output = 'projected', onProgress }: EncodeOptions = {},
): Float32Array[] {
  const { size, mean, std } = manifest.preprocessing
  const pictureBytes = size * size * image.config.numChannels
  return batches(count, PICTURES_PER_BATCH).flatMap(([start, end]) => {
    const bytes = rgb.subarray(start * pictureBytes, end * pictureBytes)
    const pixelValues = normalizePixels(bytes, end - start, size, mean, std)
    const items = encodeImage(image, pixelValues, end - start, output)
    onProgress?.(end)
    return items.map(({ data }) => data)
  })
}

function batches(count: number, size: number): [start: number, end: number][] {
  return Array.from({ length: Math.ceil(count / size) }, (_, index) => [
    index * size,
    Math.min((index + 1) * size, count),
  ])
}

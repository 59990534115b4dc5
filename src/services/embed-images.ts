// What the image encoder's Worker does with one call: normalize resized pictures, encode them.

import { InvalidInputError } from '../errors.ts'
import { encodeImage, type FlavaImageEncoder } from '../flava/image-encoder.ts'
import type { ModelManifest } from '../flava/manifest.ts'
import { passBytes } from '../flava/pass-memory.ts'
import { normalizePixels } from '../image/normalize.ts'
import { imageTokens } from './cost.ts'
import type { EmbedImagesRequest, EncodedVectors } from './inner-workers.ts'
import { passBudget, splitPasses } from './split-passes.ts'

export interface ImageModel {
  manifest: ModelManifest
  encoder: FlavaImageEncoder
}

/** @throws InvalidInputError when `rgb` is not `count` pictures of the model's size */
export function embedImages({ manifest, encoder }: ImageModel, request: EmbedImagesRequest): EncodedVectors {
  const { size, mean, std } = manifest.preprocessing
  const pictureBytes = size * size * 3
  if (request.rgb.byteLength !== request.count * pictureBytes) {
    const expected = `[${request.count}, ${size}, ${size}, 3]`
    throw new InvalidInputError(`rgb: expected uint8 ${expected}, got ${request.rgb.byteLength} bytes`)
  }
  const lengths = Array.from({ length: request.count }, () => imageTokens(manifest))
  const budget = passBudget(encoder.kernels.arena.freeBytes)
  const fits = (numTokens: number, longest: number) => passBytes(encoder.pass, numTokens, longest) <= budget
  const encoded = splitPasses(lengths, fits).flatMap(([first, end]) => {
    const rgb = request.rgb.subarray(first * pictureBytes, end * pictureBytes)
    return encodeImage(encoder, normalizePixels(rgb, end - first, size, mean, std), end - first, request.output)
  })
  return {
    space: manifest.space,
    weights: manifest.weights,
    vectors: encoded.map(({ data }) => data),
    shapes: encoded.map(({ shape }) => [...shape]),
  }
}

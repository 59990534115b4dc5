// What no model is needed for: a picture's concept by its nearest training picture, pixel by pixel at 24 × 24.
// A floor for splits whose concepts were trained on; it compares pictures with pictures, so it reads no text.
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { DEFAULT_MAX_IMAGE_PIXELS } from '../../src/image/decode-memory.ts'
import { decodeImage } from '../../src/image/decode.ts'
import { resizeBicubic, type RgbImage } from '../../src/image/resize.ts'
import { startLongProgress } from './progress.ts'
import { loadImageDecoders } from './image-decoders.ts'
import { dotProduct, pessimisticRank, type RankedQuery } from './ranks.ts'
import type { Direction } from './score-splits.ts'
import type { Picture } from './splits.ts'

/** `canvas` compares whole pictures as rendered; `trimmed` first crops the blank border, which differs between styles. */
export type FloorKind = 'canvas' | 'trimmed'

const SIDE = 24
const LIMITS = { maxPixels: DEFAULT_MAX_IMAGE_PIXELS }
/** A channel at least this close to 255 counts as blank: antialiasing leaves faint edges. */
const WHITE_TOLERANCE = 8

/**
 * Ranks concepts for each query picture (i2t) and query pictures for each concept (t2i). A concept's score is the largest cosine, of
 * mean-free pixels, over its training pictures.
 * @param queries one picture per concept
 * @param training pictures of the same concepts in the training styles
 */
export async function rankByPixels(
  imagesDir: string,
  queries: readonly Picture[],
  training: readonly Picture[],
  kind: FloorKind,
): Promise<Record<Direction, RankedQuery[]>> {
  const features = await readFeatures(imagesDir, [...queries, ...training], kind)
  const scores = scoreConcepts(features, queries, training)
  const gallerySize = queries.length
  return {
    i2t: scores.map((row, target) => ({ rank: pessimisticRank(row, target), gallerySize })),
    t2i: scores.map((_, column) => {
      const scoresOfConcept = scores.map((row) => row[column] ?? Number.NaN)
      return { rank: pessimisticRank(scoresOfConcept, column), gallerySize }
    }),
  }
}

/** For each query picture, each concept's largest cosine; `features` are those of the queries, then of the training pictures. */
function scoreConcepts(
  features: readonly Float32Array[],
  queries: readonly Picture[],
  training: readonly Picture[],
): Float64Array[] {
  const columns = new Map(queries.map(({ concept }, column) => [concept, column]))
  const columnOf = training.map(({ concept }) => columns.get(concept) ?? -1)
  const progress = startLongProgress('pixel floor, comparing', queries.length)
  const scores = queries.map((_, row) => {
    const best = new Float64Array(queries.length).fill(Number.NEGATIVE_INFINITY)
    for (const [index, column] of columnOf.entries()) {
      if (column < 0) continue
      best[column] = Math.max(best[column]!, dotProduct(features[row]!, features[queries.length + index]!))
    }
    progress.update(row + 1)
    return best
  })
  progress.stop()
  return scores
}

async function readFeatures(imagesDir: string, pictures: readonly Picture[], kind: FloorKind): Promise<Float32Array[]> {
  const decoders = await loadImageDecoders()
  const progress = startLongProgress(`pixel floor, ${kind}`, pictures.length)
  const features: Float32Array[] = []
  for (const { image } of pictures) {
    const picture = await decodeImage(await readFile(join(imagesDir, image)), decoders, LIMITS)
    features.push(pixelFeature(kind === 'trimmed' ? trim(picture) : picture))
    progress.update(features.length)
  }
  progress.stop()
  return features
}

/** RGB u8 [height, width, 3] to f32 [24 · 24 · 3], mean-free and of length 1; zeros for a picture of one colour. */
export function pixelFeature(picture: RgbImage): Float32Array {
  const pixels = Float32Array.from(resizeBicubic(picture, SIDE, SIDE))
  const mean = pixels.reduce((sum, value) => sum + value, 0) / pixels.length
  const centred = pixels.map((value) => value - mean)
  const norm = Math.sqrt(dotProduct(centred, centred))
  return norm === 0 ? centred : centred.map((value) => value / norm)
}

/** The smallest rectangle that holds everything not white; the whole picture when all of it is. */
export function trim({ data, width, height }: RgbImage): RgbImage {
  let [left, top, right, bottom] = [width, height, -1, -1]
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const at = (y * width + x) * 3
      if (Math.min(data[at]!, data[at + 1]!, data[at + 2]!) >= 255 - WHITE_TOLERANCE) continue
      left = Math.min(left, x)
      right = Math.max(right, x)
      top = Math.min(top, y)
      bottom = Math.max(bottom, y)
    }
  }
  if (right < 0) return { data, width, height }
  const [newWidth, newHeight] = [right - left + 1, bottom - top + 1]
  const cropped = new Uint8Array(newWidth * newHeight * 3)
  for (let y = 0; y < newHeight; y++) {
    const from = ((top + y) * width + left) * 3
    cropped.set(data.subarray(from, from + newWidth * 3), y * newWidth * 3)
  }
  return { data: cropped, width: newWidth, height: newHeight }
}

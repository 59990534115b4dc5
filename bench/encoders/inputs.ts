// What is encoded: shapes such as text16 (tokens, [CLS] and [SEP] included) and image224 (pixels a side), and one made-up
// input of each, the same in every run and for every engine.
import type { ModelManifest } from '../../src/flava/manifest.ts'
import { normalizePixels } from '../../src/image/normalize.ts'

export interface TextInput {
  kind: 'text'
  shape: string
  inputIds: number[]
}

export interface ImageInput {
  kind: 'image'
  shape: string
  /** u8 [size, size, 3], before normalizing. */
  rgb: Uint8Array<ArrayBuffer>
  /** f32 [1, 3, size, size]. */
  pixelValues: Float32Array
}

export type EncoderInput = TextInput | ImageInput

const TEXT_LENGTHS: readonly number[] = [8, 16, 32, 77]
const CLASS_ID = 101
const SEPARATOR_ID = 102
/** Ids below are special or unused in BERT's vocabulary; small vocabularies have no room for the distinction. */
const FIRST_WORD_ID = 1000

/** The shapes of the tables as far as the model takes them. */
export function defaultShapes({ maxTextLength, image }: ModelManifest): string[] {
  const lengths = TEXT_LENGTHS.filter((length) => length <= maxTextLength)
  return [...lengths.map((length) => `text${length}`), `image${image.imageSize}`]
}

/** @throws Error for a shape that is none, or that the model does not take */
export function makeInput(shape: string, manifest: ModelManifest): EncoderInput {
  const [, kind, digits] = /^(text|image)([1-9]\d*)$/.exec(shape) ?? []
  const size = Number(digits)
  if (kind === 'text' && size <= manifest.maxTextLength) {
    return { kind, shape, inputIds: makeTokens(size, manifest.text.vocabSize) }
  }
  if (kind === 'image' && size === manifest.image.imageSize) return makeImage(shape, manifest)
  const accepted = `text1 to text${manifest.maxTextLength} or image${manifest.image.imageSize}`
  throw new Error(`shape: expected ${accepted}, got ${shape}`)
}

/** [CLS], words spread over the vocabulary, [SEP]. */
export function makeTokens(length: number, vocabSize: number, seed = 0): number[] {
  const first = vocabSize > 2 * FIRST_WORD_ID ? FIRST_WORD_ID : 0
  const word = (index: number) => first + (((seed * 131 + index + 1) * 7919) % (vocabSize - first))
  const ids = Array.from({ length }, (_, index) => word(index))
  if (length > 0) ids[0] = Math.min(CLASS_ID, vocabSize - 1)
  if (length > 1) ids[length - 1] = Math.min(SEPARATOR_ID, vocabSize - 1)
  return ids
}

/** A disc on a gradient. */
function makeImage(shape: string, { preprocessing }: ModelManifest): ImageInput {
  const { size, mean, std } = preprocessing
  const rgb = Uint8Array.from({ length: size * size * 3 }, (_, index) => {
    const pixel = Math.floor(index / 3)
    const [x, y] = [pixel % size, Math.floor(pixel / size)]
    const isInside = Math.hypot(x - size / 2, y - size / 2) < size / 3
    return isInside ? ([220, 60, 40][index % 3] ?? 0) : Math.round((255 * (x + y)) / (2 * size))
  })
  return { kind: 'image', shape, rgb, pixelValues: normalizePixels(rgb, 1, size, mean, std) }
}

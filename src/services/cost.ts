// What a request costs an encoder, from the model's geometry and the pictures' headers: multiply-accumulates (MACs), tokens, memory.
// Counts are upper bounds: a text's tokens are only known after tokenizing, and the output decides how much of the last
// block is run.

import { AppError } from '../errors.ts'
import type { EncoderConfig } from '../flava/config.ts'
import type { ModelManifest } from '../flava/manifest.ts'
import { DEFAULT_MAX_IMAGE_PIXELS } from '../image/decode-memory.ts'
import { readImageHeader } from '../image/header.ts'

// [CLS], [SEP] and the [SEP] behind a pair's second text.
const MAX_SPECIAL_TOKENS = 3

// Tokenizing takes about a microsecond a character in JavaScript, as long as this many MACs in the kernels.
const MACS_PER_CHARACTER = 10_000

// Decoding and resizing take 30 to 40 ns a pixel (1024 x 768 in 22 to 31 ms on one core), as long as this many MACs.
const MACS_PER_SOURCE_PIXEL = 400

/**
 * MACs of one encoder pass over one sequence, all tokens of all blocks: four hidden x hidden and two feed-forward products
 * a token, attention twice. A pooled output takes less, since its last block runs for token 0 alone.
 */
export function sequenceMacs(geometry: EncoderConfig, seqLen: number): number {
  const { hiddenSize, intermediateSize, numLayers } = geometry
  const perToken = 4 * hiddenSize * hiddenSize + 2 * hiddenSize * intermediateSize
  return numLayers * (seqLen * perToken + 2 * seqLen * seqLen * hiddenSize)
}

/** Tokens of one picture: its patches and [CLS]. */
export function imageTokens(model: ModelManifest): number {
  return model.image.numPatches + 1
}

export function imageMacs(model: ModelManifest): number {
  const { numPatches, numChannels, patchSize, hiddenSize } = model.image
  const patchMacs = numPatches * numChannels * patchSize ** 2 * hiddenSize
  return sequenceMacs(model.image, imageTokens(model)) + patchMacs
}

/**
 * Decoding one picture, counted in MACs, by the size in its header. What cannot be read or is too large costs no more
 * than the largest picture: the pixels Worker refuses it by name, before decoding.
 */
export function decodeMacs(image: Uint8Array): number {
  try {
    const { width, height } = readImageHeader(image)
    return Math.min(width * height, DEFAULT_MAX_IMAGE_PIXELS) * MACS_PER_SOURCE_PIXEL
  } catch (error) {
    if (error instanceof AppError) return 0
    throw error
  }
}

/** Upper bound of the tokens that the model reads of a text: a token holds at least one character. */
export function maxTextTokens(model: ModelManifest, characters: number): number {
  return Math.min(model.maxTextLength, characters + MAX_SPECIAL_TOKENS)
}

export function maxTextMacs(model: ModelManifest, characters: number): number {
  return sequenceMacs(model.text, maxTextTokens(model, characters)) + characters * MACS_PER_CHARACTER
}

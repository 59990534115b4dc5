// An embedding request as the service understands it, and the checks that need the model: token ids, sizes, cost.

import { InvalidInputError, ResponseTooLargeError, UnsupportedDimensionsError } from '../errors.ts'
import type { ModelManifest } from '../flava/manifest.ts'
import { MAX_ANSWER_BYTES } from './answer-size.ts'
import { notFetchedHere, type PictureSource } from './collect-pictures.ts'
import { imageMacs, imageTokens, maxTextMacs, maxTextTokens } from './cost.ts'
import type { EmbeddingOutput } from './inner-workers.ts'
import type { OutputDtype } from './vector-formats.ts'

/** `param` is the item's place in the request, for errors: `input[3].image`. */
export type EmbedItem =
  | PictureSource
  | ({ param: string } & ({ kind: 'text'; text: string; textPair?: string } | { kind: 'tokens'; inputIds: number[] }))

export interface EmbedRequest {
  model: string
  items: EmbedItem[]
  output: EmbeddingOutput
  outputDtype: OutputDtype
  /** Whether each vector (each token's, for `hidden`) is scaled to unit length. */
  normalize: boolean
  truncate: boolean
  dimensions: number | undefined
  /** Bytes that one value takes in the answer's encoding. */
  responseBytesPerValue: number
}

/**
 * Holds a request against the model it names.
 * @throws UnsupportedDimensionsError, InvalidInputError, ImageUrlRefusedError, ResponseTooLargeError
 */
export function checkEmbedRequest(request: EmbedRequest, model: ModelManifest, canFetchImages: boolean): void {
  const own =
    request.output === 'projected' ? model.projectionSize : Math.max(model.text.hiddenSize, model.image.hiddenSize)
  if (request.dimensions !== undefined && request.dimensions !== own) {
    throw new UnsupportedDimensionsError(
      `dimensions: expected ${own}, got ${request.dimensions}; the model was not trained so that a shorter part of its ` +
        'vectors means something by itself (no Matryoshka training)',
      { param: 'dimensions' },
    )
  }
  if (request.outputDtype === 'ubinary' && own % 8 !== 0) {
    throw new InvalidInputError(`output_dtype: ubinary needs a length divisible by 8, the model's is ${own}`, {
      param: 'output_dtype',
    })
  }
  if (request.outputDtype !== 'float' && !request.normalize) {
    throw new InvalidInputError(
      `output_dtype: ${request.outputDtype} is defined on vectors of unit length; leave normalize true, or ask for float`,
      { param: 'output_dtype' },
    )
  }
  for (const item of request.items) checkItem(item, model, canFetchImages)
  checkResponseSize(request, model, own)
}

/** MACs of encoding one item: exact for a picture, whose decoding comes on top; an upper bound for a text. */
export function itemMacs(item: EmbedItem, model: ModelManifest): number {
  return isImage(item) ? imageMacs(model) : maxTextMacs(model, itemCharacters(item))
}

/** UTF-16 units of a text, ids of a token list; none for a picture. */
export function itemCharacters(item: EmbedItem): number {
  if (item.kind === 'text') return item.text.length + (item.textPair?.length ?? 0)
  return item.kind === 'tokens' ? item.inputIds.length : 0
}

function checkItem(item: EmbedItem, model: ModelManifest, canFetchImages: boolean): void {
  const { param } = item
  if (item.kind === 'imageUrl' && !canFetchImages) {
    throw notFetchedHere(param)
  }
  if (item.kind !== 'tokens') return
  const wrong = item.inputIds.find((id) => id >= model.text.vocabSize)
  if (wrong !== undefined) {
    throw new InvalidInputError(`${param}: expected token ids below ${model.text.vocabSize}, got ${wrong}`, { param })
  }
}

function checkResponseSize(request: EmbedRequest, model: ModelManifest, vectorLength: number): void {
  const vectorsOf = (item: EmbedItem): number => (request.output === 'hidden' ? itemTokens(item, model) : 1)
  const values = vectorLength * request.items.reduce((sum, item) => sum + vectorsOf(item), 0)
  // However small the answer's encoding, the vectors themselves come as float32.
  const bytesPerValue = Math.max(Float32Array.BYTES_PER_ELEMENT, request.responseBytesPerValue)
  if (values * bytesPerValue <= MAX_ANSWER_BYTES) return
  throw new ResponseTooLargeError(
    `input: the answer would have up to ${values} values, more than the ${MAX_ANSWER_BYTES} bytes an answer may have; ` +
      'send fewer items, or ask for encoding_format base64',
    { param: 'input' },
  )
}

function itemTokens(item: EmbedItem, model: ModelManifest): number {
  return isImage(item) ? imageTokens(model) : maxTextTokens(model, itemCharacters(item))
}

function isImage(item: EmbedItem): boolean {
  return item.kind === 'image' || item.kind === 'imageUrl'
}

// What the text encoder's Worker does with one call: tokenize, encode, report what was read of each text.

import { InputTooLongError } from '../errors.ts'
import { encodeText, type FlavaTextEncoder } from '../flava/text-encoder.ts'
import type { ModelManifest } from '../flava/manifest.ts'
import { passBytes } from '../flava/pass-memory.ts'
import { encode, type Tokenized, type Tokenizer } from '../tokenize/tokenizer.ts'
import { passBudget, splitPasses } from './split-passes.ts'
import type { EmbedTextsReply, EmbedTextsRequest, TextItem } from './inner-workers.ts'

export interface TextModel {
  manifest: ModelManifest
  tokenizer: Tokenizer
  encoder: FlavaTextEncoder
}

/** @throws InputTooLongError, InvalidInputError with the item's index */
export function embedTexts(model: TextModel, request: EmbedTextsRequest): EmbedTextsReply {
  const { manifest, encoder } = model
  const tokenized = request.items.map((item, index) => {
    const tokens = tokenize(model, item)
    if (tokens.isTruncated && !request.truncate) {
      const limit = manifest.maxTextLength
      throw new InputTooLongError(`expected at most ${limit} tokens, got ${tokens.tokenCount} (truncate is false)`, {
        index,
      })
    }
    return tokens
  })
  const lengths = tokenized.map(({ inputIds }) => inputIds.length)
  const budget = passBudget(encoder.kernels.arena.freeBytes)
  const fits = (numTokens: number, longest: number) => passBytes(encoder.pass, numTokens, longest) <= budget
  const encoded = splitPasses(lengths, fits).flatMap(([first, end]) =>
    encodeText(encoder, tokenized.slice(first, end), request.output),
  )
  return {
    space: manifest.space,
    weights: manifest.weights,
    vectors: encoded.map(({ data }) => data),
    shapes: encoded.map(({ shape }) => [...shape]),
    items: tokenized.map(({ tokenCount, inputIds, isTruncated }) => ({
      inputTokens: tokenCount,
      encodedTokens: inputIds.length,
      isTruncated,
    })),
  }
}

function tokenize({ tokenizer, manifest }: TextModel, item: TextItem): Tokenized {
  if ('text' in item) return encode(tokenizer, item.text, item.textPair, manifest.maxTextLength)
  return frameTokens(item.inputIds, tokenizer, manifest.maxTextLength)
}

/**
 * Token ids as a caller sends them, with or without their [CLS] and [SEP]: the sequence always begins with [CLS], since
 * the vector is token 0's, and always ends with [SEP], truncated or not. Token types are zeros.
 */
function frameTokens(inputIds: readonly number[], tokenizer: Tokenizer, maxLength: number): Tokenized {
  const { classId, separatorId } = tokenizer
  const begin = inputIds[0] === classId ? 1 : 0
  const end = inputIds.length > begin && inputIds.at(-1) === separatorId ? inputIds.length - 1 : inputIds.length
  const tokenCount = end - begin + 2
  const framed = [classId, ...inputIds.slice(begin, Math.min(end, begin + maxLength - 2)), separatorId]
  return { inputIds: framed, tokenTypeIds: framed.map(() => 0), tokenCount, isTruncated: tokenCount > maxLength }
}

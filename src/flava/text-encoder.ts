// FLAVA's text encoder: token ids in, vectors out. Reads as the architecture: BERT embeddings with their own
// LayerNorm, pre-LN blocks, final LayerNorm, projection of token 0. Knows no text: src/tokenize makes the ids.
import { InputTooLongError, InvalidInputError } from '../errors.ts'
import type { Kernels } from '../wasm/kernels.ts'
import { BYTES_PER_F32, packSequences } from './activations.ts'
import type { Activations } from './activations.ts'
import type { TextConfig } from './config.ts'
import { encoderStack } from './encoder-blocks.ts'
import type { EncoderStack } from './encoder-blocks.ts'
import { runEncoder } from './encoder-output.ts'
import type { EncodedItem, EncoderOutput } from './encoder-output.ts'
import type { ModelManifest } from './manifest.ts'
import type { CreateDigest } from './package-file.ts'
import { WORD_EMBEDDINGS } from './package-layout.ts'
import { passKindOf } from './pass-memory.ts'
import type { PassKind } from './pass-memory.ts'
import { alwaysWanted, loadTensors } from './weights.ts'
import type { EmbeddingWeights, IsWanted, LayerNormWeights, TensorTable, WeightFootprint } from './weights.ts'

/** One text as token ids, [CLS] first; token types default to zeros. */
export interface TokenSequence {
  inputIds: Int32Array | readonly number[]
  tokenTypeIds?: readonly number[]
}

export interface FlavaTextEncoder {
  kernels: Kernels
  config: TextConfig
  pass: PassKind
  footprint: WeightFootprint
  embeddings: TextEmbeddings
  stack: EncoderStack
}

interface TextEmbeddings {
  words: EmbeddingWeights
  positionPtr: number
  tokenTypePtr: number
  layerNorm: LayerNormWeights
}

/**
 * Load and verify the text half of a package into linear memory.
 * @param weights all bytes of the manifest's text file
 * @throws as loadTensors
 */
export async function loadTextEncoder(
  kernels: Kernels,
  manifest: ModelManifest,
  weights: ReadableStream<Uint8Array>,
  createDigest: CreateDigest,
  isWanted: IsWanted = alwaysWanted,
): Promise<FlavaTextEncoder> {
  const tensors = await loadTensors(kernels, manifest, 'text', weights, createDigest, isWanted)
  return {
    kernels,
    config: manifest.text,
    pass: passKindOf(manifest, 'text', kernels.dotKind),
    footprint: tensors.footprint,
    embeddings: textEmbeddings(tensors),
    stack: encoderStack(tensors, 'text_model', 'text_projection', manifest.text),
  }
}

/**
 * Encode texts of their true lengths, packed one after the other.
 * @param sequences each 1..maxPositionEmbeddings ids in [0, vocabSize)
 * @returns one f32 item per sequence, in order; shapes as in EncoderOutput
 * @throws InvalidInputError, InputTooLongError for ids the model has no row for; OutOfMemoryError for too large a batch
 */
export function encodeText(
  encoder: FlavaTextEncoder,
  sequences: readonly TokenSequence[],
  output: EncoderOutput,
): EncodedItem[] {
  for (const sequence of sequences) checkSequence(encoder.config, sequence)
  if (sequences.length === 0) return []
  const { kernels, stack } = encoder
  const mark = kernels.arena.mark()
  try {
    const activations = embedTokens(encoder, sequences)
    return runEncoder(kernels, stack, activations, output)
  } finally {
    kernels.arena.release(mark)
  }
}

function textEmbeddings(tensors: TensorTable): TextEmbeddings {
  const embeddings = 'text_model.embeddings'
  return {
    words: tensors.wordEmbeddings(WORD_EMBEDDINGS),
    positionPtr: tensors.ptr(`${embeddings}.position_embeddings.weight`),
    tokenTypePtr: tensors.ptr(`${embeddings}.token_type_embeddings.weight`),
    layerNorm: tensors.layerNorm(`${embeddings}.LayerNorm`),
  }
}

/** LN(word + token type + position), f32 [numRows, hiddenSize]. */
function embedTokens(
  { kernels, config, embeddings }: FlavaTextEncoder,
  sequences: readonly TokenSequence[],
): Activations {
  const { hiddenSize, layerNormEps } = config
  const { words, positionPtr, tokenTypePtr, layerNorm } = embeddings
  const rowBytes = hiddenSize * BYTES_PER_F32
  const { spans, numRows } = packSequences(sequences.map(({ inputIds }) => inputIds.length))

  const hiddenPtr = kernels.arena.alloc(numRows * rowBytes)
  const mark = kernels.arena.mark()
  try {
    const idsPtr = kernels.arena.alloc(numRows * Int32Array.BYTES_PER_ELEMENT)
    const ids = kernels.i32(idsPtr, numRows)
    sequences.forEach(({ inputIds }, index) => ids.set(inputIds, spans[index]?.firstRow))
    kernels.embedRows(words.scheme, idsPtr, numRows, words.tablePtr, words.scalePtr, hiddenPtr, hiddenSize)
  } finally {
    kernels.arena.release(mark)
  }
  spans.forEach(({ firstRow, seqLen }, index) => {
    const sequencePtr = hiddenPtr + firstRow * rowBytes
    const tokenTypeIds = sequences[index]?.tokenTypeIds ?? []
    for (let token = 0; token < seqLen; token += 1) {
      kernels.addF32(sequencePtr + token * rowBytes, tokenTypePtr + (tokenTypeIds[token] ?? 0) * rowBytes, hiddenSize)
    }
    kernels.addF32(sequencePtr, positionPtr, seqLen * hiddenSize)
  })
  kernels.layerNormF32(hiddenPtr, hiddenPtr, layerNorm.gammaPtr, layerNorm.betaPtr, numRows, hiddenSize, layerNormEps)
  return { hiddenPtr, numRows, spans }
}

function checkSequence(config: TextConfig, { inputIds, tokenTypeIds = [] }: TokenSequence): void {
  if (inputIds.length === 0) throw new InvalidInputError('inputIds: expected at least one token, got none')
  if (inputIds.length > config.maxPositionEmbeddings) {
    const limit = `at most ${config.maxPositionEmbeddings} tokens`
    throw new InputTooLongError(`inputIds: expected ${limit}, got ${inputIds.length}`)
  }
  if (tokenTypeIds.length > 0 && tokenTypeIds.length !== inputIds.length) {
    throw new InvalidInputError(`tokenTypeIds: expected one per token (${inputIds.length}), got ${tokenTypeIds.length}`)
  }
  checkIds('inputIds', inputIds, config.vocabSize)
  checkIds('tokenTypeIds', tokenTypeIds, config.typeVocabSize)
}

function checkIds(name: string, ids: Int32Array | readonly number[], count: number): void {
  for (const id of ids) {
    if (!Number.isInteger(id) || id < 0 || id >= count) {
      throw new InvalidInputError(`${name}: expected integers from 0 to ${count - 1}, got ${id}`)
    }
  }
}

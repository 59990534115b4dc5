// How much linear memory one pass takes above the weights, from the geometry alone: an upper bound of what the encoders
// and the kernels' scratch reserve at their widest point. A test holds it against the arena's own count.
import { attentionScratchBytes, gemmScratchBytes, layerNormScratchBytes } from '../wasm/scratch-bytes.ts'
import { BYTES_PER_F32 } from './activations.ts'
import type { EncoderConfig, ImageConfig } from './config.ts'

/** The scheme whose GEMM takes most scratch: the most groups. */
const WIDEST_SCHEME = 'w4g32'
/** Rows are quantized in blocks of 4. */
const ROW_BLOCK = 4
/** The arena aligns to 16; a pass holds a few dozen pieces at once. */
const ALIGNMENT_SLACK_BYTES = 1024

/**
 * @param numTokens of all sequences of the pass
 * @param longest tokens of its longest sequence
 */
export function passBytes(config: EncoderConfig | ImageConfig, numTokens: number, longest: number): number {
  const statesBytes = f32Bytes(numTokens, config.hiddenSize)
  const stages = [
    attentionBytes(config, numTokens, longest),
    feedForwardBytes(config, numTokens),
    // A normed copy of all states, or token 0 of each sequence gathered, normed, quantized and projected.
    statesBytes + rowsBytes(numTokens, config.hiddenSize),
    'patchSize' in config ? patchBytes(config, numTokens) : 0,
  ]
  // The last block keeps token 0 of each sequence beside the states.
  const gatheredBytes = statesBytes / Math.max(1, longest)
  return Math.ceil(statesBytes + gatheredBytes) + Math.max(...stages) + ALIGNMENT_SLACK_BYTES
}

function attentionBytes({ hiddenSize, headDim }: EncoderConfig, numTokens: number, longest: number): number {
  const statesBytes = f32Bytes(numTokens, hiddenSize)
  const scratchBytes = Math.max(
    gemmScratchBytes(WIDEST_SCHEME, numTokens, hiddenSize),
    attentionScratchBytes(longest, headDim),
    layerNormScratchBytes(hiddenSize),
  )
  const contextQueryKeyValueBytes = 4 * statesBytes
  return contextQueryKeyValueBytes + 2 * rowsBytes(numTokens, hiddenSize) + scratchBytes
}

function feedForwardBytes({ hiddenSize, intermediateSize }: EncoderConfig, numTokens: number): number {
  return (
    rowsBytes(numTokens, hiddenSize) +
    f32Bytes(numTokens, intermediateSize) +
    rowsBytes(numTokens, intermediateSize) +
    Math.max(
      gemmScratchBytes(WIDEST_SCHEME, numTokens, hiddenSize),
      gemmScratchBytes(WIDEST_SCHEME, numTokens, intermediateSize),
      layerNormScratchBytes(hiddenSize),
    )
  )
}

/** Pixels of each patch, quantized and projected; counted as if [CLS] were a patch too. */
function patchBytes({ hiddenSize, numChannels, patchSize }: ImageConfig, numTokens: number): number {
  const patchValues = numChannels * patchSize ** 2
  return (
    f32Bytes(numTokens, hiddenSize) +
    f32Bytes(numTokens, patchValues) +
    rowsBytes(numTokens, patchValues) +
    gemmScratchBytes(WIDEST_SCHEME, numTokens, patchValues)
  )
}

function f32Bytes(rows: number, size: number): number {
  return rows * size * BYTES_PER_F32
}

/** int8 rows and their scales. */
function rowsBytes(rows: number, size: number): number {
  const padded = Math.ceil(rows / ROW_BLOCK) * ROW_BLOCK
  return padded * (size + BYTES_PER_F32)
}

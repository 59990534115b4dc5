// How much linear memory one pass takes above the weights, from geometry and schemes: an upper bound of what the encoders
// and the kernels' scratch reserve at their widest point. A test holds it against the arena's own count.
import { attentionScratchBytes, gemmScratchBytes, layerNormScratchBytes } from '../wasm/scratch-bytes.ts'
import { BYTES_PER_F32 } from './activations.ts'
import type { DotKind } from '../wasm/kernels.ts'
import type { LinearScheme } from '../wasm/schemes.ts'
import type { EncoderConfig, ImageConfig } from './config.ts'
import type { ModelManifest } from './manifest.ts'
import { imageLinears, textLinears } from './package-layout.ts'

/** Rows are quantized in blocks of 4. */
const ROW_BLOCK = 4
/** The arena aligns to 16; a pass holds a few dozen pieces at once. */
const ALIGNMENT_SLACK_BYTES = 1024

/** What decides how much a pass of one encoder takes. */
export interface PassKind {
  config: EncoderConfig | ImageConfig
  /** Those of all its Linears but the projection. */
  schemes: readonly LinearScheme[]
  projection: LinearScheme
  dotKind: DotKind
}

/** The passes of a package's encoder on kernels with this dot product; its tensors need not be loaded. */
export function passKindOf(manifest: ModelManifest, encoder: 'text' | 'image', dotKind: DotKind): PassKind {
  const names = [...(encoder === 'text' ? textLinears(manifest) : imageLinears(manifest)).keys()]
  // The manifest has a scheme for each name, and the projection comes last.
  const schemes = names.flatMap((name) => manifest.schemes.linears[name] ?? [])
  return {
    config: manifest[encoder],
    schemes: [...new Set(schemes.slice(0, -1))],
    projection: schemes.at(-1) ?? 'w8',
    dotKind,
  }
}

/**
 * @param numTokens of all sequences of the pass
 * @param longest tokens of its longest sequence
 */
export function passBytes(
  { config, schemes, projection, dotKind }: PassKind,
  numTokens: number,
  longest: number,
): number {
  const gemmBytes: GemmBytes = (numRows, k) =>
    Math.max(...schemes.map((scheme) => gemmScratchBytes(scheme, numRows, k, dotKind)))
  const statesBytes = f32Bytes(numTokens, config.hiddenSize)
  const stages = [
    attentionBytes(config, numTokens, longest, gemmBytes),
    feedForwardBytes(config, numTokens, gemmBytes),
    // A normed copy of all states, or token 0 of each sequence gathered, normed, quantized in two terms and projected.
    statesBytes +
      rowsBytes(numTokens, config.hiddenSize) +
      gemmScratchBytes(projection, 2 * numTokens, config.hiddenSize, dotKind),
    'patchSize' in config ? patchBytes(config, numTokens, gemmBytes) : 0,
  ]
  // The last block keeps token 0 of each sequence beside the states.
  const gatheredBytes = statesBytes / Math.max(1, longest)
  return Math.ceil(statesBytes + gatheredBytes) + Math.max(...stages) + ALIGNMENT_SLACK_BYTES
}

/** The most scratch that a scheme of the encoder takes for rows of k values. */
type GemmBytes = (numRows: number, k: number) => number

function attentionBytes(
  { hiddenSize, headDim }: EncoderConfig,
  numTokens: number,
  longest: number,
  gemmBytes: GemmBytes,
): number {
  const statesBytes = f32Bytes(numTokens, hiddenSize)
  const scratchBytes = Math.max(
    gemmBytes(numTokens, hiddenSize),
    attentionScratchBytes(longest, headDim),
    layerNormScratchBytes(hiddenSize),
  )
  const contextQueryKeyValueBytes = 4 * statesBytes
  return contextQueryKeyValueBytes + 2 * rowsBytes(numTokens, hiddenSize) + scratchBytes
}

function feedForwardBytes(
  { hiddenSize, intermediateSize }: EncoderConfig,
  numTokens: number,
  gemmBytes: GemmBytes,
): number {
  return (
    rowsBytes(numTokens, hiddenSize) +
    f32Bytes(numTokens, intermediateSize) +
    rowsBytes(numTokens, intermediateSize) +
    Math.max(
      gemmBytes(numTokens, hiddenSize),
      gemmBytes(numTokens, intermediateSize),
      layerNormScratchBytes(hiddenSize),
    )
  )
}

/** Pixels of each patch, quantized and projected; counted as if [CLS] were a patch too. */
function patchBytes(
  { hiddenSize, numChannels, patchSize }: ImageConfig,
  numTokens: number,
  gemmBytes: GemmBytes,
): number {
  const patchValues = numChannels * patchSize ** 2
  return (
    f32Bytes(numTokens, hiddenSize) +
    f32Bytes(numTokens, patchValues) +
    rowsBytes(numTokens, patchValues) +
    gemmBytes(numTokens, patchValues)
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

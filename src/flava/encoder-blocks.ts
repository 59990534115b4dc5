// The part text and image encoders have in common: a stack of pre-LN blocks, the final LayerNorm and the projection.
// Reference: transformers' FlavaEncoder; the residual stream is never normed in place.
import type { Kernels, PackedWeight } from '../wasm/kernels.ts'
import type { Activations } from './activations.ts'
import { addAttention, addAttentionOfFirstTokens, attentionWeights } from './attention.ts'
import type { AttentionWeights } from './attention.ts'
import type { EncoderConfig } from './config.ts'
import { addFeedForward, feedForwardWeights } from './feed-forward.ts'
import type { FeedForwardWeights } from './feed-forward.ts'
import type { LayerNormWeights, TensorTable } from './weights.ts'

export interface BlockWeights {
  attention: AttentionWeights
  feedForward: FeedForwardWeights
}

export interface EncoderStack {
  config: EncoderConfig
  blocks: readonly BlockWeights[]
  layernorm: LayerNormWeights
  projection: PackedWeight
}

/** @param model `text_model` or `image_model` */
export function encoderStack(
  tensors: TensorTable,
  model: string,
  projection: string,
  config: EncoderConfig,
): EncoderStack {
  return {
    config,
    blocks: Array.from({ length: config.numLayers }, (_, layer) => ({
      attention: attentionWeights(tensors, `${model}.encoder.layer.${layer}`),
      feedForward: feedForwardWeights(tensors, `${model}.encoder.layer.${layer}`),
    })),
    layernorm: tensors.layerNorm(`${model}.layernorm`),
    projection: tensors.linear(projection),
  }
}

export interface RunOptions {
  /**
   * The last block then computes token 0 of each sequence alone, which is all that a pooled output reads: keys and
   * values need every token, queries, dense layers and the feed-forward half do not. Its bits do not change.
   */
  isFirstTokenEnough: boolean
  /** Is shown the states before the first block and after each. */
  observe?: (activations: Activations) => void
}

/**
 * Runs every block over `activations.hiddenPtr`, f32 [numRows, hiddenSize], in place.
 * @returns the states after the last block: the same activations, or token 0's own, for the caller's mark to release
 */
export function runBlocks(
  kernels: Kernels,
  { blocks, config }: EncoderStack,
  activations: Activations,
  { isFirstTokenEnough, observe }: RunOptions,
): Activations {
  let states = activations
  observe?.(states)
  for (const [layer, { attention, feedForward }] of blocks.entries()) {
    if (isFirstTokenEnough && layer === blocks.length - 1) {
      states = addAttentionOfFirstTokens(kernels, attention, config, states)
    } else {
      addAttention(kernels, attention, config, states)
    }
    addFeedForward(kernels, feedForward, config, states)
    observe?.(states)
  }
  return states
}

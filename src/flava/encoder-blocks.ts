// The part text and image encoders have in common: a stack of pre-LN blocks, the final LayerNorm and the projection.
// Reference: transformers' FlavaEncoder; the residual stream is never normed in place.
import type { Kernels } from '../wasm/kernels.ts'
import type { Activations } from './activations.ts'
import { addAttention, attentionWeights } from './attention.ts'
import type { AttentionWeights } from './attention.ts'
import type { EncoderConfig } from './config.ts'
import { addFeedForward, feedForwardWeights } from './feed-forward.ts'
import type { FeedForwardWeights } from './feed-forward.ts'
import type { LayerNormWeights, LinearWeights, TensorTable } from './weights.ts'

export interface BlockWeights {
  attention: AttentionWeights
  feedForward: FeedForwardWeights
}

export interface EncoderStack {
  config: EncoderConfig
  blocks: readonly BlockWeights[]
  layernorm: LayerNormWeights
  projection: LinearWeights
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

/** Runs every block over `activations.hiddenPtr`, f32 [numRows, hiddenSize], in place. */
export function runBlocks(kernels: Kernels, { blocks, config }: EncoderStack, activations: Activations): void {
  for (const { attention, feedForward } of blocks) {
    addAttention(kernels, attention, config, activations)
    addFeedForward(kernels, feedForward, config, activations)
  }
}

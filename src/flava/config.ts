// The geometry of a FLAVA model, read from the Hugging Face FlavaConfig inside config.json.
// Knows field names and limits of this engine; reads no files.
import { z } from 'zod'

/**
 * Far above any FLAVA, and low enough that nothing which is counted by them runs out of memory before the geometry is held
 * against the tensors that are there.
 */
const size = z.int().positive().max(65_536)
const MAX_LAYERS = 256
const MAX_VOCABULARY = 1_048_576
const MAX_IMAGE_SIZE = 4_096

const blockFields = {
  hidden_size: size,
  num_hidden_layers: size.max(MAX_LAYERS),
  num_attention_heads: size,
  intermediate_size: size,
  hidden_act: z.literal('gelu'),
  layer_norm_eps: z.number().nonnegative(),
  qkv_bias: z.literal(true),
}

const textConfigSchema = z.object({
  ...blockFields,
  vocab_size: z.int().positive().max(MAX_VOCABULARY),
  type_vocab_size: size,
  max_position_embeddings: size,
})

const imageConfigSchema = z.object({
  ...blockFields,
  image_size: size.max(MAX_IMAGE_SIZE),
  patch_size: size.max(MAX_IMAGE_SIZE),
  num_channels: z.literal(3),
})

export const flavaConfigSchema = z.object({
  model_type: z.literal('flava'),
  projection_dim: size,
  text_config: textConfigSchema,
  image_config: imageConfigSchema,
})

/** What the pre-LN blocks of either encoder need to know. */
export interface EncoderConfig {
  hiddenSize: number
  numLayers: number
  numHeads: number
  headDim: number
  intermediateSize: number
  layerNormEps: number
}

export interface TextConfig extends EncoderConfig {
  vocabSize: number
  typeVocabSize: number
  maxPositionEmbeddings: number
}

export interface ImageConfig extends EncoderConfig {
  imageSize: number
  patchSize: number
  numChannels: number
  /** Patches of one picture; its sequence is one longer, for CLS. */
  numPatches: number
}

export function toTextConfig(fields: z.infer<typeof textConfigSchema>): TextConfig {
  return {
    ...toEncoderConfig(fields),
    vocabSize: fields.vocab_size,
    typeVocabSize: fields.type_vocab_size,
    maxPositionEmbeddings: fields.max_position_embeddings,
  }
}

export function toImageConfig(fields: z.infer<typeof imageConfigSchema>): ImageConfig {
  return {
    ...toEncoderConfig(fields),
    imageSize: fields.image_size,
    patchSize: fields.patch_size,
    numChannels: fields.num_channels,
    numPatches: Math.floor(fields.image_size / fields.patch_size) ** 2,
  }
}

function toEncoderConfig(fields: z.infer<z.ZodObject<typeof blockFields>>): EncoderConfig {
  return {
    hiddenSize: fields.hidden_size,
    numLayers: fields.num_hidden_layers,
    numHeads: fields.num_attention_heads,
    headDim: fields.hidden_size / fields.num_attention_heads,
    intermediateSize: fields.intermediate_size,
    layerNormEps: fields.layer_norm_eps,
  }
}

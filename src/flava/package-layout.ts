// Which tensors a package holds, under FlavaModel's names, with dtype and shape: the file side of the architecture.
// gpu/flava_gpu/export.py writes the same list.
import type { EncoderConfig } from './config.ts'
import type { ModelManifest } from './manifest.ts'
import type { TensorDtype } from './safetensors.ts'

export interface TensorSpec {
  dtype: TensorDtype
  shape: readonly number[]
}

export type TensorSpecs = ReadonlyMap<string, TensorSpec>
type NamedSpec = [name: string, spec: TensorSpec]

/** What the text encoder takes: text_model.* without its pooler, and text_projection. */
export function textTensors({ text, projectionSize }: ModelManifest): TensorSpecs {
  const embeddings = 'text_model.embeddings'
  return new Map([
    [`${embeddings}.word_embeddings.weight`, { dtype: 'I8', shape: [text.vocabSize, text.hiddenSize] }],
    f32(`${embeddings}.word_embeddings.weight_scale`, text.vocabSize),
    f32(`${embeddings}.position_embeddings.weight`, text.maxPositionEmbeddings, text.hiddenSize),
    f32(`${embeddings}.token_type_embeddings.weight`, text.typeVocabSize, text.hiddenSize),
    ...norm(`${embeddings}.LayerNorm`, text.hiddenSize),
    ...encoder('text_model', text),
    ...linear('text_projection', projectionSize, text.hiddenSize),
  ])
}

/** What the image encoder takes: image_model.* without its pooler and mask_token, and image_projection. */
export function imageTensors({ image, projectionSize }: ModelManifest): TensorSpecs {
  const embeddings = 'image_model.embeddings'
  return new Map([
    f32(`${embeddings}.cls_token`, 1, 1, image.hiddenSize),
    f32(`${embeddings}.position_embeddings`, 1, image.numPatches + 1, image.hiddenSize),
    ...linear(`${embeddings}.patch_embeddings.projection`, image.hiddenSize, image.numChannels * image.patchSize ** 2),
    ...encoder('image_model', image),
    ...linear('image_projection', projectionSize, image.hiddenSize),
  ])
}

function encoder(model: string, { numLayers, hiddenSize, intermediateSize }: EncoderConfig): NamedSpec[] {
  const blocks = Array.from({ length: numLayers }, (_, layer) => `${model}.encoder.layer.${layer}`)
  return [
    ...blocks.flatMap((block) => [
      ...norm(`${block}.layernorm_before`, hiddenSize),
      ...norm(`${block}.layernorm_after`, hiddenSize),
      ...linear(`${block}.attention.attention.query`, hiddenSize, hiddenSize),
      ...linear(`${block}.attention.attention.key`, hiddenSize, hiddenSize),
      ...linear(`${block}.attention.attention.value`, hiddenSize, hiddenSize),
      ...linear(`${block}.attention.output.dense`, hiddenSize, hiddenSize),
      ...linear(`${block}.intermediate.dense`, intermediateSize, hiddenSize),
      ...linear(`${block}.output.dense`, hiddenSize, intermediateSize),
    ]),
    ...norm(`${model}.layernorm`, hiddenSize),
  ]
}

function linear(name: string, n: number, k: number): NamedSpec[] {
  return [[`${name}.weight`, { dtype: 'U8', shape: [n, k] }], f32(`${name}.weight_scale`, n), f32(`${name}.bias`, n)]
}

function norm(name: string, hiddenSize: number): NamedSpec[] {
  return [f32(`${name}.weight`, hiddenSize), f32(`${name}.bias`, hiddenSize)]
}

function f32(name: string, ...shape: number[]): NamedSpec {
  return [name, { dtype: 'F32', shape }]
}

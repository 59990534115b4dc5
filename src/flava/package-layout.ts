// Which tensors a package's two files hold, under FlavaModel's names, with dtype and shape: the file side of the
// architecture. gpu/flava_gpu writes the same lists.
import { ModelPackageError } from '../errors.ts'
import { embeddingTensors, linearTensors } from '../wasm/schemes.ts'
import type { LinearScheme, StoredTensor } from '../wasm/schemes.ts'
import type { EncoderConfig } from './config.ts'
import type { ModelManifest } from './manifest.ts'

export type TensorSpecs = ReadonlyMap<string, StoredTensor>

/** A Linear: n output channels of k inputs. */
export interface LinearShape {
  n: number
  k: number
}

type Geometry = Pick<ModelManifest, 'projectionSize' | 'text' | 'image'>
type NamedShape = [name: string, shape: LinearShape]
type NamedTensor = [name: string, tensor: StoredTensor]

export const WORD_EMBEDDINGS = 'text_model.embeddings.word_embeddings'

export function textLinears({ text, projectionSize }: Geometry): ReadonlyMap<string, LinearShape> {
  return new Map([
    ...blockLinears('text_model', text),
    ['text_projection', { n: projectionSize, k: text.hiddenSize }] satisfies NamedShape,
  ])
}

export function imageLinears({ image, projectionSize }: Geometry): ReadonlyMap<string, LinearShape> {
  const patchValues = image.numChannels * image.patchSize ** 2
  return new Map([
    [PATCH_PROJECTION, { n: image.hiddenSize, k: patchValues }] satisfies NamedShape,
    ...blockLinears('image_model', image),
    ['image_projection', { n: projectionSize, k: image.hiddenSize }] satisfies NamedShape,
  ])
}

export const PATCH_PROJECTION = 'image_model.embeddings.patch_embeddings.projection'

/** What the text encoder takes: text_model.* without its pooler, and text_projection. */
export function textTensors(manifest: ModelManifest): TensorSpecs {
  const { text, schemes } = manifest
  const embeddings = 'text_model.embeddings'
  const words = embeddingTensors(schemes.wordEmbeddings, text.vocabSize, text.hiddenSize)
  return new Map([
    [`${WORD_EMBEDDINGS}.weight`, words.weight],
    [`${WORD_EMBEDDINGS}.weight_scale`, words.scale],
    f32(`${embeddings}.position_embeddings.weight`, text.maxPositionEmbeddings, text.hiddenSize),
    f32(`${embeddings}.token_type_embeddings.weight`, text.typeVocabSize, text.hiddenSize),
    ...norm(`${embeddings}.LayerNorm`, text.hiddenSize),
    ...norms('text_model', text),
    ...linears(textLinears(manifest), schemes.linears),
  ])
}

/** What the image encoder takes: image_model.* without its pooler and mask_token, and image_projection. */
export function imageTensors(manifest: ModelManifest): TensorSpecs {
  const { image, schemes } = manifest
  const embeddings = 'image_model.embeddings'
  return new Map([
    f32(`${embeddings}.cls_token`, 1, 1, image.hiddenSize),
    f32(`${embeddings}.position_embeddings`, 1, image.numPatches + 1, image.hiddenSize),
    ...norms('image_model', image),
    ...linears(imageLinears(manifest), schemes.linears),
  ])
}

function blocks(model: string, { numLayers }: EncoderConfig): string[] {
  return Array.from({ length: numLayers }, (_, layer) => `${model}.encoder.layer.${layer}`)
}

function blockLinears(model: string, config: EncoderConfig): NamedShape[] {
  const { hiddenSize, intermediateSize } = config
  const square = { n: hiddenSize, k: hiddenSize }
  return blocks(model, config).flatMap((block): NamedShape[] => [
    [`${block}.attention.attention.query`, square],
    [`${block}.attention.attention.key`, square],
    [`${block}.attention.attention.value`, square],
    [`${block}.attention.output.dense`, square],
    [`${block}.intermediate.dense`, { n: intermediateSize, k: hiddenSize }],
    [`${block}.output.dense`, { n: hiddenSize, k: intermediateSize }],
  ])
}

function linears(shapes: ReadonlyMap<string, LinearShape>, schemes: Readonly<Record<string, LinearScheme>>) {
  return [...shapes].flatMap(([name, { n, k }]): NamedTensor[] => {
    const scheme = schemes[name]
    if (scheme === undefined) throw new ModelPackageError(`config.json: flava_edge.schemes.${name}: scheme is missing`)
    const { weight, scale } = linearTensors(scheme, n, k)
    return [[`${name}.weight`, weight], [`${name}.weight_scale`, scale], f32(`${name}.bias`, n)]
  })
}

function norms(model: string, config: EncoderConfig): NamedTensor[] {
  const { hiddenSize } = config
  return [
    ...blocks(model, config).flatMap((block) => [
      ...norm(`${block}.layernorm_before`, hiddenSize),
      ...norm(`${block}.layernorm_after`, hiddenSize),
    ]),
    ...norm(`${model}.layernorm`, hiddenSize),
  ]
}

function norm(name: string, hiddenSize: number): NamedTensor[] {
  return [f32(`${name}.weight`, hiddenSize), f32(`${name}.bias`, hiddenSize)]
}

function f32(name: string, ...shape: number[]): NamedTensor {
  return [name, { dtype: 'F32', shape }]
}

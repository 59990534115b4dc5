// GET /v1/models and /v1/models/{id}: which models are served, with geometry, quantization, hashes and licence.

import type { ModelDescription } from '../services/inner-workers.ts'
import type { ModelCatalog } from '../services/model-catalog.ts'
import type { AppContext } from './context.ts'
import type { Model } from './models-schema.ts'

// Format version 2 of the model package, 2026-11-24.
const FORMAT_CREATED = 1_795_478_400

/** @throws WorkerUnavailableError */
export async function listModels(c: AppContext, catalog: ModelCatalog): Promise<Response> {
  const data = await c.var.stages.measure('model', () =>
    Promise.all(catalog.ids.map(async (id) => toModel(id, await catalog.describe(id)))),
  )
  return c.json({ object: 'list', data })
}

/** @throws ModelNotFoundError, WorkerUnavailableError */
export async function getModel(c: AppContext, catalog: ModelCatalog): Promise<Response> {
  const id = c.req.param('model') ?? ''
  const manifest = await c.var.stages.measure('model', () => catalog.describe(id))
  c.var.facts.model = id
  c.header('x-flava-space', manifest.space)
  return c.json(toModel(id, manifest))
}

function toModel(id: string, manifest: ModelDescription): Model {
  const { text, image } = manifest
  return {
    id,
    object: 'model',
    created: FORMAT_CREATED,
    owned_by: 'flava-edge',
    x_flava: {
      space: manifest.space,
      weights: manifest.weights,
      checkpoint: manifest.checkpoint,
      license: manifest.license,
      variant: manifest.variant,
      quantization: quantization(manifest),
      dimensions: manifest.projectionSize,
      text: { ...geometry(text), vocab_size: text.vocabSize, max_length: manifest.maxTextLength },
      image: {
        ...geometry(image),
        image_size: image.imageSize,
        patch_size: image.patchSize,
        tokens: image.numPatches + 1,
      },
    },
  }
}

/** `w6g64+w7 e8`: how the Linear layers are stored, then the word embeddings. */
function quantization({ schemes }: ModelDescription): string {
  const linears = [...new Set(Object.values(schemes.linears))].toSorted()
  return `${linears.join('+')} ${schemes.wordEmbeddings}`
}

function geometry(config: ModelDescription['text'] | ModelDescription['image']): {
  hidden_size: number
  num_hidden_layers: number
  num_attention_heads: number
  intermediate_size: number
} {
  return {
    hidden_size: config.hiddenSize,
    num_hidden_layers: config.numLayers,
    num_attention_heads: config.numHeads,
    intermediate_size: config.intermediateSize,
  }
}

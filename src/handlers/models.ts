// /v1/models: the models that are served, with geometry, quantization, hashes and licence, and those that the project's
// own fine-tuning jobs have made.

import type { z } from 'zod'
import { isFineTunedModelId } from '../jobs/ids.ts'
import type { FineTunedModel } from '../jobs/job.ts'
import type { ModelDescription } from '../services/inner-workers.ts'
import type { JobDependencies } from '../services/job-dependencies.ts'
import type { AppContext, Route } from './context.ts'
import type { FineTunedModelSchema, Model } from './models-schema.ts'
import { toSeconds } from './unix-seconds.ts'

type ModelDependencies = Pick<JobDependencies, 'broker' | 'catalog'>

// Format version 2 of the model package, 2026-11-24.
const FORMAT_CREATED = 1_795_478_400
const ANY_SCOPE = ['embed', 'classify', 'jobs'] as const

export function modelRoutes(deps: ModelDependencies): Route[] {
  const path = '/v1/models/:model'
  return [
    { method: 'GET', path: '/v1/models', scopes: ANY_SCOPE, handle: (c) => listModels(c, deps) },
    { method: 'GET', path, scopes: ANY_SCOPE, handle: (c) => getModel(c, deps) },
    { method: 'DELETE', path, scopes: ['jobs'], handle: (c) => deleteModel(c, deps) },
  ]
}

/** @throws WorkerUnavailableError */
async function listModels(c: AppContext, { broker, catalog }: ModelDependencies): Promise<Response> {
  const [served, fineTuned] = await c.var.stages.measure('model', () =>
    Promise.all([
      Promise.all(catalog.ids.map(async (id) => toModel(id, await catalog.describe(id)))),
      broker.listFineTunedModels(c.var.project),
    ]),
  )
  return c.json({ object: 'list', data: [...served, ...fineTuned.map(toFineTuned)] })
}

/** @throws ModelNotFoundError also for another project's, WorkerUnavailableError */
async function getModel(c: AppContext, { broker, catalog }: ModelDependencies): Promise<Response> {
  const id = c.req.param('model') ?? ''
  if (isFineTunedModelId(id)) return c.json(toFineTuned(await broker.getFineTunedModel(c.var.project, id)))
  const manifest = await c.var.stages.measure('model', () => catalog.describe(id))
  c.var.facts.model = id
  c.header('x-flava-space', manifest.space)
  return c.json(toModel(id, manifest))
}

/** @throws ModelNotFoundError also for the models that the deployment itself brings */
async function deleteModel(c: AppContext, { broker }: ModelDependencies): Promise<Response> {
  const id = c.req.param('model') ?? ''
  await broker.deleteFineTunedModel(c.var.project, id)
  return c.json({ id, object: 'model', deleted: true })
}

function toFineTuned(model: FineTunedModel): z.infer<typeof FineTunedModelSchema> {
  const { id, project, base, job, method, heads, labels, objects, createdAtMs } = model
  return {
    id,
    object: 'model',
    created: toSeconds(createdAtMs),
    owned_by: project,
    x_flava: { base, job, method, heads, labels, bytes: objects.reduce((sum, { bytes }) => sum + bytes, 0) },
  }
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

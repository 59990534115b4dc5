// The model that a job asks for: one that the deployment serves, or one that a job of the same project has made of it.

import { HeadNotTrainedError } from '../jobs/errors.ts'
import type { ModelManifest } from '../flava/manifest.ts'
import { isFineTunedModelId } from '../jobs/ids.ts'
import type { FineTunedModel, StoredObject } from '../jobs/job.ts'
import type { Head } from '../jobs/kinds.ts'
import type { ModelRef } from '../jobs/worker-protocol.ts'
import type { JobDependencies } from './job-dependencies.ts'
import { sha256Hex } from './sha256.ts'

export interface JobModel {
  id: string
  ref: ModelRef
  /** The model's own files, empty for a base model, which workers bring themselves. */
  objects: StoredObject[]
  /** Geometry and preprocessing, which fine-tuning does not change. */
  base: ModelManifest
  fineTuned: FineTunedModel | null
  /** Trained parts; undefined for a base model that no worker has spoken of yet. */
  heads: readonly string[] | undefined
}

/** @throws ModelNotFoundError, WorkerUnavailableError */
export async function findJobModel(
  project: string,
  id: string,
  { broker, catalog }: Pick<JobDependencies, 'broker' | 'catalog'>,
): Promise<JobModel> {
  if (!isFineTunedModelId(id)) {
    const base = await catalog.describe(id)
    const heads = await broker.headsOf(id)
    return { id, ref: { id, base: id, objects: [] }, objects: [], base, fineTuned: null, heads }
  }
  const fineTuned = await broker.getFineTunedModel(project, id)
  const { base, objects, heads } = fineTuned
  const files = objects.map(({ name, bytes, sha256 }) => ({ name, bytes, sha256 }))
  return { id, ref: { id, base, objects: files }, objects, base: await catalog.describe(base), fineTuned, heads }
}

/**
 * @param heads any one of them suffices
 * @throws HeadNotTrainedError when it is known that the model has none of them
 */
export function requireHead({ id, heads: trained }: JobModel, heads: readonly Head[], what: string): void {
  if (trained === undefined || heads.some((head) => trained.includes(head))) return
  const has = trained.length === 0 ? 'none' : trained.join(', ')
  throw new HeadNotTrainedError(`model: ${what} needs ${heads.join(' or ')} trained; trained in ${id}: ${has}`, {
    param: 'model',
  })
}

/** What a checkpoint is known by: vectors of two checkpoints never compare. */
async function checkpointIdentity({ fineTuned, base }: JobModel): Promise<string> {
  if (fineTuned === null) return base.checkpoint
  const files = fineTuned.objects.map(({ name, sha256 }) => `${name} ${sha256}`).toSorted()
  return sha256Hex(files.join('\n'))
}

/** The space of the multimodal encoder's vectors, which is not that of the retrieval vectors. */
export async function multimodalSpace(model: JobModel): Promise<string> {
  return spaceOf(`${await checkpointIdentity(model)} multimodal`)
}

/** The space of POST /v1/embeddings: for a base model the one that the edge answers with. */
export async function retrievalSpace(model: JobModel): Promise<string> {
  return model.fineTuned === null ? model.base.space : spaceOf(`${await checkpointIdentity(model)} cls-projected`)
}

async function spaceOf(text: string): Promise<string> {
  return (await sha256Hex(text)).slice(0, 16)
}

const BYTES_PER_WEIGHT = { inference: 4, training: 16 } as const
const RUNTIME_MIB = 256
const MIB = 1024 * 1024

/**
 * What a worker must have, in MiB: the weights in float32, for training also gradients and Adam's two moments. A lower
 * bound that keeps a job away from a worker that could never hold it; activations depend on the batch, which adapts.
 */
export function memoryMib({ base }: JobModel, use: keyof typeof BYTES_PER_WEIGHT): number {
  const blocks = (config: ModelManifest['text'] | ModelManifest['image']): number =>
    config.numLayers * (4 * config.hiddenSize ** 2 + 2 * config.hiddenSize * config.intermediateSize)
  const weights = blocks(base.text) + blocks(base.image) + base.text.vocabSize * base.text.hiddenSize
  return RUNTIME_MIB + Math.ceil((weights * BYTES_PER_WEIGHT[use]) / MIB)
}

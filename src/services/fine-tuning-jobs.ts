// Makes a fine-tuning job of a model and files. What the files hold is checked when it runs, with line numbers.

import type { z } from 'zod'
import { InvalidInputError } from '../errors.ts'
import { FineTuningInputSchema, type FineTuningInput, type MethodSchema } from '../jobs/job-work.ts'
import type { FileRecord, JobRecord, StoredObject } from '../jobs/job.ts'
import { readArchiveKind } from './archive-kind.ts'
import type { JobDependencies } from './job-dependencies.ts'
import { findJobModel, memoryMib } from './job-models.ts'
import type { FineTuningJob } from './job-requests.ts'
import { submitJob, type Attempt } from './submit-job.ts'

export type Method = z.infer<typeof MethodSchema>

export interface FineTuningOrder {
  project: string
  model: string
  trainingFile: string
  validationFile: string | null
  mediaFiles: string[]
  suffix: string | null
  seed: number | null
  method: Method
  metadata: Record<string, string> | null
  maxRuntimeSeconds: number | undefined
  attempt: Attempt
}

const [TRAINING_NAME, VALIDATION_NAME] = ['training.jsonl', 'validation.jsonl']
const SEED_DIGITS = 7

/** @throws ResourceNotFoundError, InvalidInputError, ModelNotFoundError, and what every submission throws */
export async function submitFineTuning(order: FineTuningOrder, deps: JobDependencies): Promise<JobRecord> {
  const { project, suffix, attempt } = order
  const model = await findJobModel(project, order.model, deps)
  const training = await findFile(order.trainingFile, 'training_file', project, deps)
  const validation =
    order.validationFile === null ? null : await findFile(order.validationFile, 'validation_file', project, deps)
  const media = await findMedia(order.mediaFiles, project, deps)
  const method = flatMethod(order.method)
  const input: FineTuningInput = {
    method,
    seed: order.seed ?? Number.parseInt(deps.randomHex(SEED_DIGITS), 16),
    training: TRAINING_NAME,
    validation: validation === null ? null : VALIDATION_NAME,
    media: media.map(({ name }) => name),
  }
  const kept: FineTuningJob = {
    metadata: order.metadata,
    trainingFile: training.id,
    validationFile: validation?.id ?? null,
    mediaFiles: order.mediaFiles,
    suffix,
    seed: input.seed,
    method,
  }
  return submitJob(
    {
      project,
      kind: 'fine_tuning',
      model: model.ref,
      head: null,
      input,
      objects: [
        asObject(TRAINING_NAME, training),
        ...(validation === null ? [] : [asObject(VALIDATION_NAME, validation)]),
        ...media,
        ...model.objects,
      ],
      request: kept,
      minMemoryMib: memoryMib(model, 'training'),
      maxRuntimeSeconds: order.maxRuntimeSeconds,
      deadlineMs: null,
    },
    attempt,
    deps,
  )
}

/** OpenAI's nested form as the contract has it, with every default in its place. */
function flatMethod(method: Method): FineTuningInput['method'] {
  const nested: unknown = Object.entries(method).find(([key]) => key === method.type)?.[1]
  const given =
    typeof nested === 'object' && nested !== null && 'hyperparameters' in nested ? nested.hyperparameters : {}
  return FineTuningInputSchema.shape.method.parse({ type: method.type, hyperparameters: given })
}

async function findFile(id: string, param: string, project: string, { broker }: JobDependencies): Promise<FileRecord> {
  const file = await broker.getFile(project, id)
  if (file.purpose === 'fine-tune') return file
  throw new InvalidInputError(`${param}: expected a file of purpose fine-tune, got ${file.purpose}`, { param })
}

async function findMedia(ids: readonly string[], project: string, deps: JobDependencies): Promise<StoredObject[]> {
  return Promise.all(
    ids.map(async (id, index) => {
      const param = `x_flava.media_files[${index}]`
      const file = await findFile(id, param, project, deps)
      return asObject(`media/${index}.${await readArchiveKind(file, deps.objects, param)}`, file)
    }),
  )
}

function asObject(name: string, { key, bytes, sha256 }: FileRecord): StoredObject {
  return { name, key, bytes, sha256 }
}

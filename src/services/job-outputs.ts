// What a finished job leaves its project: files with names for people, and the model that a fine-tuning job has made.

import { InvalidInputError } from '../errors.ts'
import { baseModelId, fineTunedModelId, newId, type RandomHex } from '../jobs/ids.ts'
import type { FilePurpose, FineTunedModel, JobRecord, OutputFile, StoredObject } from '../jobs/job.ts'
import { FineTuningResultSchema } from '../jobs/job-work.ts'
import { RESULT_OBJECT } from '../jobs/worker-protocol.ts'
import { BatchJobSchema, FineTuningJobSchema } from './job-requests.ts'

/** A result too long to be inline, and what interactive jobs write, stay with the job. */
export function toOutputFiles(job: JobRecord, outputs: readonly StoredObject[], randomHex: RandomHex): OutputFile[] {
  const purpose = purposeOf(job)
  const expiresAfterSeconds = job.kind === 'batch' ? BatchJobSchema.parse(job.request).outputExpiresAfterSeconds : null
  return outputs.map((output) => {
    const isFile = purpose !== null && output.name !== RESULT_OBJECT
    return {
      ...output,
      fileId: isFile ? newId('file', randomHex) : null,
      filename: filenameOf(job, output.name),
      purpose: purpose ?? 'user_data',
      ...(expiresAfterSeconds === null ? {} : { expiresAfterSeconds }),
    }
  })
}

/**
 * @returns null unless the job is one that makes a model
 * @throws InvalidInputError when the result names an object that is not among the outputs
 */
export function toFineTunedModel(
  job: JobRecord,
  result: unknown,
  outputs: readonly StoredObject[],
  createdAtMs: number,
): FineTunedModel | null {
  if (job.kind !== 'fine_tuning') return null
  const { model_objects: names, heads, labels } = FineTuningResultSchema.parse(result)
  const { suffix, method } = FineTuningJobSchema.parse(job.request)
  const base = baseModelId(job.modelId)
  return {
    id: fineTunedModelId(base, suffix, job.id),
    project: job.project,
    base,
    job: job.id,
    method: method.type,
    heads,
    labels,
    objects: names.map((name) => {
      const output = outputs.find((candidate) => candidate.name === name)
      if (output !== undefined) return output
      throw new InvalidInputError(`result.model_objects: expected names of outputs, got ${name}`)
    }),
    createdAtMs,
  }
}

function purposeOf({ kind }: JobRecord): FilePurpose | null {
  switch (kind) {
    case 'batch':
      return 'batch_output'
    case 'fine_tuning':
      return 'fine-tune-results'
    case 'multimodal.embeddings':
    case 'multimodal.match':
    case 'multimodal.fill_mask':
    case 'multimodal.classify':
      return null
  }
}

/** `batch_…_output.jsonl`; `config.json` for model/config.json, whose listing tells the job apart by its id. */
function filenameOf({ id, kind }: JobRecord, name: string): string {
  const last = name.slice(name.lastIndexOf('/') + 1)
  return kind === 'batch' ? `${id}_${last}` : last
}

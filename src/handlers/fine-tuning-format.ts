// Fine-tuning jobs, their events and checkpoints as OpenAI's API shows them.

import { baseModelId, fineTunedModelId } from '../jobs/ids.ts'
import { FineTuningResultSchema } from '../jobs/job-work.ts'
import type { JobCheckpoint, JobEvent, JobRecord } from '../jobs/job.ts'
import { RESULT_OBJECT } from '../jobs/worker-protocol.ts'
import { FineTuningJobSchema } from '../services/job-requests.ts'
import type { FineTuningCheckpoint, FineTuningEvent, FineTuningJobAnswer } from './fine-tuning-schema.ts'
import { toSeconds } from './unix-seconds.ts'

const MODEL_FOLDER = 'model/'

/** @param nowMs since 1970, for the estimate of the end */
export function toFineTuningJob(job: JobRecord, nowMs: number): FineTuningJobAnswer {
  const request = FineTuningJobSchema.parse(job.request)
  const { type, hyperparameters } = request.method
  const finished = job.state === 'succeeded' ? FineTuningResultSchema.safeParse(job.result) : undefined
  const result = finished?.success === true ? finished.data : null
  const eta = job.state === 'running' ? (job.progress?.eta_seconds ?? null) : null
  return {
    id: job.id,
    object: 'fine_tuning.job',
    created_at: toSeconds(job.createdAtMs),
    finished_at: toSeconds(job.endedAtMs),
    estimated_finish: eta === null ? null : Math.round(nowMs / 1000 + eta),
    model: job.modelId,
    fine_tuned_model: job.state === 'succeeded' ? modelOf(job, request.suffix) : null,
    organization_id: job.project,
    status: statusOf(job),
    training_file: request.trainingFile,
    validation_file: request.validationFile,
    result_files: resultFiles(job),
    trained_tokens: result?.trained_tokens ?? null,
    hyperparameters: 'n_epochs' in hyperparameters ? commonOf(hyperparameters) : {},
    method: { type, ...Object.fromEntries([[type, { hyperparameters }]]) },
    seed: request.seed,
    error: errorOf(job),
    integrations: [],
    metadata: request.metadata,
    x_flava: {
      state: job.state,
      media_files: request.mediaFiles,
      metrics: result?.metrics ?? null,
      gpu_seconds: job.usage.gpuSeconds,
    },
  }
}

export function toFineTuningEvent({ id, atMs, data }: JobEvent): FineTuningEvent {
  return { id, object: 'fine_tuning.job.event', created_at: toSeconds(atMs), ...describeEvent(data) }
}

export function toFineTuningCheckpoint(checkpoint: JobCheckpoint, job: JobRecord): FineTuningCheckpoint {
  const { id, createdAtMs, step, metrics } = checkpoint
  const { suffix } = FineTuningJobSchema.parse(job.request)
  return {
    id,
    object: 'fine_tuning.job.checkpoint',
    created_at: toSeconds(createdAtMs),
    fine_tuning_job_id: job.id,
    fine_tuned_model_checkpoint: `${modelOf(job, suffix)}:ckpt-step-${step}`,
    step_number: step,
    metrics: { ...metrics, step },
  }
}

function modelOf({ id, modelId }: JobRecord, suffix: string | null): string {
  return fineTunedModelId(baseModelId(modelId), suffix, id)
}

function statusOf({ state, attempt }: JobRecord): FineTuningJobAnswer['status'] {
  switch (state) {
    case 'stored':
      return attempt === 0 ? 'validating_files' : 'queued'
    case 'queued':
    case 'paused':
      return 'queued'
    case 'running':
    case 'succeeded':
    case 'cancelled':
      return state
    case 'failed':
    case 'dead':
    case 'expired':
      return 'failed'
  }
}

/** What an attempt that is followed by another has failed with is told by the events alone. */
function errorOf({ state, error }: JobRecord): FineTuningJobAnswer['error'] {
  if (state === 'expired')
    return { code: 'job_expired', message: 'it expired before it had ended', param: null, line: null }
  return state === 'failed' || state === 'dead' ? error : null
}

/** Metrics before the model: whoever reads result_files[0] finds curves, as with OpenAI. */
function resultFiles({ outputs }: JobRecord): string[] {
  const ofModel = (name: string): boolean => name.startsWith(MODEL_FOLDER)
  return outputs
    .filter(({ name }) => name !== RESULT_OBJECT)
    .toSorted((a, b) => Number(ofModel(a.name)) - Number(ofModel(b.name)))
    .flatMap(({ fileId }) => (fileId === null ? [] : [fileId]))
}

function commonOf({
  n_epochs,
  batch_size,
  learning_rate_multiplier,
}: FineTuningJobAnswer['hyperparameters']): FineTuningJobAnswer['hyperparameters'] {
  return { n_epochs, batch_size, learning_rate_multiplier }
}

function describeEvent(data: JobEvent['data']): Pick<FineTuningEvent, 'level' | 'message' | 'type' | 'data'> {
  switch (data.type) {
    case 'log':
      return { level: data.level, message: data.message, type: 'message', data: {} }
    case 'metrics': {
      const values = Object.entries(data.values).map(([name, value]) => `${name}=${Number(value.toPrecision(4))}`)
      const message = `Step ${data.step}: ${values.join(', ')}`
      return { level: 'info', message, type: 'metrics', data: { step: data.step, ...data.values } }
    }
    case 'state': {
      const level = data.state === 'failed' || data.state === 'dead' ? 'error' : 'info'
      return { level, message: data.message, type: 'message', data: { state: data.state } }
    }
    case 'progress': {
      const { done, total, unit } = data.progress
      return {
        level: 'info',
        message: `${done} of ${total} ${unit}`,
        type: 'message',
        data: { progress: data.progress },
      }
    }
    case 'checkpoint': {
      const { checkpoint, step } = data
      return { level: 'info', message: `Checkpoint at step ${step}`, type: 'message', data: { checkpoint, step } }
    }
  }
}

// Ids of everything that the jobs API names. An id says what it names and nothing else; it is safe as part of an R2 key.

import type { JobKind } from './kinds.ts'

const RANDOM_DIGITS = 24

const PREFIXES = {
  job: 'job_',
  fineTuningJob: 'ftjob-',
  batch: 'batch_',
  file: 'file-',
  upload: 'upload_',
  part: 'part_',
  event: 'evt_',
  checkpoint: 'ftckpt_',
  webhookEndpoint: 'we_',
  workerToken: 'wt_',
} as const
export type IdKind = keyof typeof PREFIXES

/** Random lower-case hex digits. */
export type RandomHex = (digits: number) => string

export function newId(kind: IdKind, randomHex: RandomHex): string {
  return PREFIXES[kind] + randomHex(RANDOM_DIGITS)
}

/** A fine-tuning job or a batch is a job under the same id. */
export function newJobId(kind: JobKind, randomHex: RandomHex): string {
  switch (kind) {
    case 'fine_tuning':
      return newId('fineTuningJob', randomHex)
    case 'batch':
      return newId('batch', randomHex)
    case 'multimodal.embeddings':
    case 'multimodal.match':
    case 'multimodal.fill_mask':
    case 'multimodal.classify':
      return newId('job', randomHex)
  }
}

/** Whether `id` could have been made here as an id of one of these kinds; says nothing of whether it was. */
export function isId(id: string, ...kinds: readonly IdKind[]): boolean {
  return kinds.some((kind) => id.startsWith(PREFIXES[kind]) && /^[0-9a-f]{24}$/.test(id.slice(PREFIXES[kind].length)))
}

const FINE_TUNED = 'ft:'
const MODEL_DIGITS = 12

/** The id under which a fine-tuning job's model is served: `ft:flava-emoji:my-suffix:0123456789ab`, the job's own digits last. */
export function fineTunedModelId(base: string, suffix: string | null, jobId: string): string {
  const digits = jobId.slice(PREFIXES.fineTuningJob.length).slice(0, MODEL_DIGITS)
  return `${FINE_TUNED}${base}:${suffix ?? ''}:${digits}`
}

/** Whether `id` names a model that a job here has made, rather than one that the deployment brings. */
export function isFineTunedModelId(id: string): boolean {
  return id.startsWith(FINE_TUNED)
}

/** The deployment's own model that `id` is, or was made of. Ids of those have no colon. */
export function baseModelId(id: string): string {
  return isFineTunedModelId(id) ? (id.split(':')[1] ?? id) : id
}

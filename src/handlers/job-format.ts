// A job's record as /v1/jobs shows it.

import type { JobRecord } from '../jobs/job.ts'
import { isInteractive } from '../jobs/kinds.ts'
import type { ObjectStore } from '../jobs/ports.ts'
import { readResult } from '../services/job-result.ts'
import { AnyJobSchema } from '../services/job-requests.ts'
import type { Job } from './jobs-schema.ts'
import { formatResult } from './multimodal-format.ts'
import { toSeconds } from './unix-seconds.ts'

export function toJob(job: JobRecord): Job {
  const { usage } = job
  return {
    id: job.id,
    object: 'job',
    kind: job.kind,
    status: job.state,
    model: job.modelId,
    created_at: toSeconds(job.createdAtMs),
    started_at: toSeconds(job.startedAtMs),
    ended_at: toSeconds(job.endedAtMs),
    expires_at: toSeconds(job.deadlineMs),
    attempts: job.attempt,
    max_attempts: job.maxAttempts,
    max_runtime_seconds: job.maxRuntimeSeconds,
    queue_position: job.queuePosition,
    waiting_for: job.waitingFor,
    worker: job.worker,
    cancel_requested: job.isCancelRequested,
    pause_requested: job.isPauseRequested,
    progress: job.progress,
    error: job.error,
    output_files: job.outputs.flatMap(({ fileId, filename, bytes }) =>
      fileId === null ? [] : [{ id: fileId, filename, bytes }],
    ),
    usage: { gpu_seconds: usage.gpuSeconds, total_tokens: usage.tokens, images: usage.images },
    metadata: AnyJobSchema.parse(job.request).metadata,
  }
}

/** With the result, where the kind has one to show and the job has succeeded. */
export async function toJobWithResult(job: JobRecord, objects: ObjectStore): Promise<Job> {
  const { kind, state } = job
  if (!isInteractive(kind) || state !== 'succeeded') return toJob(job)
  return { ...toJob(job), result: formatResult(kind, job, await readResult(job, objects)) }
}

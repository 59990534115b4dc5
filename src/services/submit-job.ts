// Makes a job: its input inline or in the bucket, its row in the broker, its message in the Queue. The row comes first, so
// that the job can be asked for at once and nothing but the broker's own loss can lose it.

import { AppError } from '../errors.ts'
import type { JobRecord, NewJob, StoredObject } from '../jobs/job.ts'
import { newJobId } from '../jobs/ids.ts'
import { isInteractive, maxRuntimeSecondsOf, type JobKind } from '../jobs/kinds.ts'
import { inputKey } from '../jobs/object-keys.ts'
import { INPUT_OBJECT, MAX_INLINE_BYTES, type ModelRef } from '../jobs/worker-protocol.ts'
import type { JobDependencies } from './job-dependencies.ts'

/** What one request under an Idempotency-Key, or without one, has come to so far. */
export interface Attempt {
  /** null when the request carries no key. */
  key: string | null
  /** The job that an earlier, broken-off request has made under this key. */
  job: string | null
  /** Whether the broker may have kept a job for it. */
  mayHaveMade: boolean
}

export interface JobOrder {
  project: string
  kind: JobKind
  model: ModelRef
  head: string | null
  /** What JOB_WORK prescribes for the kind. */
  input: unknown
  objects: StoredObject[]
  request: Record<string, unknown>
  minMemoryMib: number
  /** The owner's own limit, or undefined for the kind's. */
  maxRuntimeSeconds: number | undefined
  deadlineMs: number | null
}

type SubmitDependencies = Pick<
  JobDependencies,
  'broker' | 'objects' | 'queue' | 'gpuSecondsBudgetOf' | 'randomHex' | 'log'
>

/** An input object that no job came to name is trash after this long. */
const ANNOUNCED_MS = 3_600_000

/** @throws GpuBudgetExceededError, WorkerUnavailableError when the broker does not answer */
export async function submitJob(order: JobOrder, attempt: Attempt, deps: SubmitDependencies): Promise<JobRecord> {
  if (attempt.job !== null) return deps.broker.get(order.project, attempt.job)
  const id = newJobId(order.kind, deps.randomHex)
  const { project, kind, model, head, objects, request, minMemoryMib, deadlineMs } = order
  const job: NewJob = {
    id,
    project,
    kind,
    model,
    head,
    input: await placeInput(id, order.input, deps),
    objects,
    request,
    minMemoryMib,
    maxRuntimeSeconds: order.maxRuntimeSeconds ?? maxRuntimeSecondsOf(kind),
    deadlineMs,
  }
  const record = await keep(job, attempt, deps)
  if (!isInteractive(kind)) await announce(record, deps)
  return record
}

async function keep(job: NewJob, attempt: Attempt, deps: SubmitDependencies): Promise<JobRecord> {
  attempt.mayHaveMade = true
  try {
    const options = { idempotencyKey: attempt.key, gpuSecondsBudget: deps.gpuSecondsBudgetOf(job.project) }
    return await deps.broker.submit(job, options)
  } catch (error) {
    // A refusal made nothing; after no answer at all, nobody knows.
    if (error instanceof AppError && error.status < 500) {
      attempt.mayHaveMade = false
      if ('object' in job.input) await deps.broker.discardObjects([job.input.object.key])
    }
    throw error
  }
}

async function placeInput(id: string, input: unknown, deps: SubmitDependencies): Promise<NewJob['input']> {
  const text = JSON.stringify(input)
  const bytes = new TextEncoder().encode(text)
  if (bytes.byteLength <= MAX_INLINE_BYTES) return { inline: text }
  const key = inputKey(id)
  await deps.broker.announceObjects([key], ANNOUNCED_MS)
  const stored = await deps.objects.put(key, streamOf(bytes), bytes.byteLength)
  return { object: { name: INPUT_OBJECT, key, ...stored } }
}

/** A lost message delays the job by as much as the broker's sweep takes to send it again, and costs nothing else. */
async function announce({ id }: JobRecord, { queue, log }: SubmitDependencies): Promise<void> {
  try {
    await queue.send([id])
  } catch (error) {
    log(JSON.stringify({ event: 'queue_send_failed', job: id, error: String(error) }))
  }
}

function streamOf(bytes: Uint8Array): ReadableStream<Uint8Array> {
  return new ReadableStream({
    start(controller) {
      controller.enqueue(bytes)
      controller.close()
    },
  })
}

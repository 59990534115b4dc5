// Jobs in the broker, put there past the HTTP routes, and fake workers with real tokens that hold them.

import type { NewJob, StoredObject } from '../src/jobs/job.ts'
import { newJobId } from '../src/jobs/ids.ts'
import type { JobKind } from '../src/jobs/kinds.ts'
import { fileKey } from '../src/jobs/object-keys.ts'
import type { JobBroker } from '../src/jobs/ports.ts'
import { FakeWorker, mintWorkerToken, WorkerCallError, type FakeWorkerOptions, type Send } from './fake-worker.ts'
import { bearer, putFile, sha256, startKeyedWorkers } from './files-client.ts'
import type { RunningWorkers } from './harness.ts'

export interface WorkerBench {
  workers: RunningWorkers
  broker: JobBroker
  send: Send
  /** A token for every kind. */
  token: string
  mint(options?: { kinds?: JobKind[] }): Promise<string>
  /** A worker of a name of its own, with the token for every kind unless told otherwise. */
  worker(options?: FakeWorkerOptions, token?: string): FakeWorker
  /** Puts a job into the broker, ready to be leased; resolves to its id. */
  submit(kind?: JobKind, options?: { project?: string; objects?: StoredObject[] }): Promise<string>
  /** Cancels what was submitted and has not ended, so that the next test finds an empty queue. */
  clear(): Promise<void>
}

const REQUESTS: Partial<Record<JobKind, { input: unknown; request: Record<string, unknown> }>> = {
  'multimodal.match': {
    input: { images: ['aGk='], texts: ['a cat'], pairs: [[0, 0]] },
    request: { metadata: null, form: 'pairs', columns: 1 },
  },
  batch: {
    input: { endpoint: '/v1/multimodal/match', model: 'flava-emoji', input: 'input.jsonl', space: null },
    request: { metadata: null, endpoint: '/v1/multimodal/match', inputFile: 'file-', completionWindow: '24h' },
  },
  fine_tuning: {
    input: {
      method: { type: 'contrastive', hyperparameters: {} },
      seed: 1,
      training: 'training.jsonl',
      validation: null,
      media: [],
    },
    request: {
      metadata: null,
      trainingFile: 'file-',
      validationFile: null,
      mediaFiles: [],
      suffix: 'mine',
      seed: 1,
      method: { type: 'contrastive', hyperparameters: {} },
    },
  },
}

export async function startWorkerBench(): Promise<WorkerBench> {
  const workers = await startKeyedWorkers()
  const broker = await workers.broker()
  // Presigned URLs are signed for the address that was asked, so calls go there.
  const send: Send = (path, init) => fetch(new URL(path, workers.url), init)
  const mint: WorkerBench['mint'] = (options = {}) => mintWorkerToken(send, { ...options, headers: bearer('sk-root') })
  const token = await mint()
  const submitted: { project: string; id: string }[] = []
  let made = 0
  return {
    workers,
    broker,
    send,
    token,
    mint,
    worker(options = {}, as = token) {
      made += 1
      return new FakeWorker(send, as, { id: `worker-${made}`, ...options })
    },
    async submit(kind = 'multimodal.match', { project = 'one', objects = [] } = {}) {
      made += 1
      const job = newJob(kind, project, objects, sha256(String(made)))
      await broker.submit(job, { idempotencyKey: null, gpuSecondsBudget: null })
      await broker.markQueued([job.id])
      submitted.push({ project, id: job.id })
      return job.id
    },
    async clear() {
      for (const { project, id } of submitted.splice(0)) {
        const { endedAtMs } = await broker.get(project, id)
        if (endedAtMs === null) await broker.cancel(project, id)
      }
    },
  }
}

function newJob(kind: JobKind, project: string, objects: StoredObject[], digits: string): NewJob {
  const { input, request } = REQUESTS[kind] ?? { input: {}, request: {} }
  return {
    id: newJobId(kind, (count) => digits.slice(0, count)),
    project,
    kind,
    model: { id: 'flava-emoji', base: 'flava-emoji', objects: [] },
    head: null,
    input: { inline: JSON.stringify(input) },
    objects,
    request,
    minMemoryMib: 1,
    maxRuntimeSeconds: 600,
    deadlineMs: null,
  }
}

/** A new file of a project as an object of a job. */
export async function fileObject(
  { workers }: Pick<WorkerBench, 'workers'>,
  name: string,
  content: string,
  project: 'one' | 'two' = 'one',
): Promise<StoredObject> {
  const { id, bytes, x_flava } = await putFile(workers, content, { key: project === 'one' ? 'sk-one' : 'sk-two' })
  return { name, key: fileKey(id), bytes, sha256: x_flava.sha256 }
}

/** Status and code that a worker's call was refused with. */
export async function refused(call: Promise<unknown>): Promise<{ status: number; code: string }> {
  try {
    const answer = await call
    throw new Error(`expected a refusal, got ${JSON.stringify(answer)}`)
  } catch (error) {
    if (error instanceof WorkerCallError) return { status: error.status, code: error.code }
    throw error
  }
}

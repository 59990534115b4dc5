// Makes a batch: a file of requests to one endpoint, answered on the GPU. The model is the one that the first line names;
// every line is checked when the batch runs.

import { z } from 'zod'
import { InvalidInputError } from '../errors.ts'
import type { BatchInput } from '../jobs/job-work.ts'
import type { FileRecord, JobRecord } from '../jobs/job.ts'
import type { Head } from '../jobs/kinds.ts'
import type { JobDependencies } from './job-dependencies.ts'
import { findJobModel, memoryMib, multimodalSpace, requireHead, retrievalSpace, type JobModel } from './job-models.ts'
import type { BatchJob } from './job-requests.ts'
import { readFirstLine } from './read-first-line.ts'
import { submitJob, type Attempt } from './submit-job.ts'

export interface BatchRequest {
  project: string
  endpoint: BatchInput['endpoint']
  inputFile: string
  completionWindow: string
  completionWindowMs: number
  /** How long the files that it leaves are kept; null for ever. */
  outputExpiresAfterSeconds: number | null
  metadata: Record<string, string> | null
  maxRuntimeSeconds: number | undefined
  attempt: Attempt
}

const INPUT_NAME = 'input.jsonl'
/** A line holds what a request's body may hold, pictures included. */
const MAX_LINE_BYTES = 20 * 1024 * 1024
const PARAM = 'input_file_id'

const FirstLineSchema = z.object({ url: z.string(), body: z.object({ model: z.string().min(1) }) })

/** What an endpoint answers from, where that is one part of the model whatever the line says. */
const HEADS: Record<BatchInput['endpoint'], readonly Head[]> = {
  '/v1/embeddings': ['contrastive'],
  '/v1/multimodal/embeddings': ['itm', 'mmm_text', 'mmm_image', 'classification', 'regression'],
  '/v1/multimodal/match': ['itm'],
  '/v1/multimodal/fill-mask': ['mmm_text', 'mlm', 'mmm_image', 'mim'],
  '/v1/multimodal/classify': ['classification', 'regression'],
}

/** @throws ResourceNotFoundError, InvalidInputError, ModelNotFoundError, HeadNotTrainedError, and what every submission throws */
export async function submitBatch(request: BatchRequest, deps: JobDependencies): Promise<JobRecord> {
  const { project, endpoint } = request
  const file = await deps.broker.getFile(project, request.inputFile)
  if (file.purpose !== 'batch') {
    throw new InvalidInputError(`${PARAM}: expected a file of purpose batch, got ${file.purpose}`, { param: PARAM })
  }
  const model = await findJobModel(project, await modelOf(file, endpoint, deps), deps)
  requireHead(model, HEADS[endpoint], endpoint)
  const input: BatchInput = { endpoint, model: model.id, input: INPUT_NAME, space: await spaceOf(model, endpoint) }
  const kept: BatchJob = {
    metadata: request.metadata,
    endpoint,
    inputFile: file.id,
    completionWindow: request.completionWindow,
    outputExpiresAfterSeconds: request.outputExpiresAfterSeconds,
  }
  const [head] = HEADS[endpoint]
  return submitJob(
    {
      project,
      kind: 'batch',
      model: model.ref,
      head: model.fineTuned === null && HEADS[endpoint].length === 1 ? (head ?? null) : null,
      input,
      objects: [{ name: INPUT_NAME, key: file.key, bytes: file.bytes, sha256: file.sha256 }, ...model.objects],
      request: kept,
      minMemoryMib: memoryMib(model, 'inference'),
      maxRuntimeSeconds: request.maxRuntimeSeconds,
      deadlineMs: deps.nowMs() + request.completionWindowMs,
    },
    request.attempt,
    deps,
  )
}

async function modelOf(file: FileRecord, endpoint: string, { objects }: JobDependencies): Promise<string> {
  const wrong = (what: string): InvalidInputError =>
    new InvalidInputError(`${PARAM}: line 1: ${what}`, { param: PARAM })
  const text = await readFirstLine(file, objects, { maxBytes: MAX_LINE_BYTES, param: PARAM })
  let json: unknown
  try {
    json = JSON.parse(text)
  } catch {
    throw wrong('expected a JSON object')
  }
  const line = FirstLineSchema.safeParse(json)
  if (!line.success) throw wrong('expected {"custom_id", "method": "POST", "url", "body": {"model", …}}')
  if (line.data.url !== endpoint) throw wrong(`url: expected ${endpoint}, the batch's endpoint`)
  return line.data.body.model
}

async function spaceOf(model: JobModel, endpoint: BatchInput['endpoint']): Promise<string | null> {
  if (endpoint === '/v1/embeddings') return retrievalSpace(model)
  return endpoint === '/v1/multimodal/embeddings' ? multimodalSpace(model) : null
}

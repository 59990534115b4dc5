// POST /v1/multimodal/{embeddings,match,fill-mask,classify}: each makes a job and, as `Prefer: wait` asks, waits for it.

import type { z } from 'zod'
import { InternalError } from '../errors.ts'
import type { JobRecord } from '../jobs/job.ts'
import { isInteractive } from '../jobs/kinds.ts'
import type { StoredResponse } from '../jobs/ports.ts'
import { isTerminal } from '../jobs/states.ts'
import type { JobDependencies } from '../services/job-dependencies.ts'
import { failureOf } from '../services/job-failure.ts'
import { readResult } from '../services/job-result.ts'
import {
  submitClassify,
  submitEmbeddings,
  submitFillMask,
  submitMatch,
  type MultimodalContext,
} from '../services/multimodal-jobs.ts'
import type { AppContext, Route } from './context.ts'
import { describeError } from './error-response.ts'
import { runOnce, type JobRequest } from './idempotency.ts'
import { toJobWithResult } from './job-format.ts'
import { formatResult } from './multimodal-format.ts'
import { parseAnyItems, parseMaskedItems, parseMatch, parsePairItems } from './multimodal-input.ts'
import {
  ClassifyOptionsSchema,
  DEFAULT_TOP_K,
  EmbeddingsOptionsSchema,
  FillMaskOptionsSchema,
  MatchOptionsSchema,
} from './multimodal-schema.ts'
import { expectObject, parseField } from './parse-field.ts'
import { parsePrefer } from './prefer.ts'

type Options = z.infer<typeof MatchOptionsSchema>
type Body = Record<string, unknown>
/** Parses one route's body and submits its job. */
type Submit = (body: Body, contextOf: (options: Options) => MultimodalContext) => Promise<JobRecord>

export function multimodalRoutes(deps: JobDependencies): Route[] {
  const route = (path: string, submit: Submit): Route => ({
    method: 'POST',
    path: `/v1/multimodal/${path}`,
    scopes: ['jobs'],
    handle: (c) =>
      runOnce(
        c,
        deps,
        (request) => answer(c, request, submit, deps),
        ({ headers }) => answerAgain(c, headers.location ?? '', deps),
      ),
  })
  return [
    route('embeddings', (body, contextOf) => {
      const options = parseField(EmbeddingsOptionsSchema, body, '')
      const { output, normalize, encoding_format: encodingFormat } = options
      const request = {
        items: parsePairItems(body),
        output: output ?? 'cls',
        normalize: normalize ?? true,
        encodingFormat: encodingFormat ?? 'float',
      }
      return submitEmbeddings(request, contextOf(options), deps)
    }),
    route('match', (body, contextOf) => {
      const options = parseField(MatchOptionsSchema, body, '')
      return submitMatch(parseMatch(body), contextOf(options), deps)
    }),
    route('fill-mask', (body, contextOf) => {
      const options = parseField(FillMaskOptionsSchema, body, '')
      const request = { items: parseMaskedItems(body), topK: options.top_k ?? DEFAULT_TOP_K }
      return submitFillMask(request, contextOf(options), deps)
    }),
    route('classify', (body, contextOf) => {
      const options = parseField(ClassifyOptionsSchema, body, '')
      const request = { items: parseAnyItems(body), topK: options.top_k ?? DEFAULT_TOP_K }
      return submitClassify(request, contextOf(options), deps)
    }),
  ]
}

async function answer(
  c: AppContext,
  { body, attempt }: JobRequest,
  submit: Submit,
  deps: JobDependencies,
): Promise<StoredResponse> {
  const { stages, facts, project, signal } = c.var
  const { waitMs, applied } = parsePrefer(c.req.header('prefer'))
  const fields = expectObject(body, 'a model and what to do with it')
  const submitted = await stages.measure('broker', () =>
    submit(fields, ({ model, metadata, x_flava }) => ({
      project,
      model,
      metadata: metadata ?? null,
      maxRuntimeSeconds: x_flava?.max_runtime_seconds,
      attempt,
      signal,
    })),
  )
  facts.job = submitted.id
  // A client that leaves now leaves its job behind, which goes on.
  const job =
    waitMs === 0 ? submitted : await stages.measure('wait', () => deps.broker.waitForEnd(project, submitted.id, waitMs))
  const { status, headers, body: text } = await toStoredResponse(c, job, waitMs > 0, deps)
  const preference: Record<string, string> = applied === null ? {} : { 'preference-applied': applied }
  return { status, headers: { ...headers, ...preference }, body: text }
}

/** The result, where the caller has waited for it; the job as it stands, where it did not come; its failure, where it failed. */
async function toStoredResponse(
  c: AppContext,
  job: JobRecord,
  hasWaited: boolean,
  { objects }: JobDependencies,
): Promise<StoredResponse> {
  const { id, kind, state } = job
  const location = `/v1/jobs/${id}`
  const headers = { 'content-type': 'application/json', location }
  if (!hasWaited || !isTerminal(state) || !isInteractive(kind)) {
    return { status: 202, headers, body: JSON.stringify(await toJobWithResult(job, objects)) }
  }
  if (state === 'succeeded') {
    const result = await c.var.stages.measure('objects', () => readResult(job, objects))
    return { status: 200, headers, body: JSON.stringify(formatResult(kind, job, result)) }
  }
  const failure = failureOf(job)
  c.var.facts.code = failure.code
  const described = describeError(failure)
  return { ...described, headers: { ...described.headers, location } }
}

/** A result is kept with its job, so its answer can be made from it again. */
async function answerAgain(c: AppContext, location: string, { broker, objects }: JobDependencies): Promise<string> {
  const job = await broker.get(c.var.project, location.slice(location.lastIndexOf('/') + 1))
  if (!isInteractive(job.kind)) throw new InternalError(`job ${job.id} is not one that this route makes`)
  return JSON.stringify(formatResult(job.kind, job, await readResult(job, objects)))
}

// What makes jobs and what asks about them: multimodal routes, batches, fine-tuning, /v1/jobs, /metrics.

import type { RouteConfig } from '@hono/zod-openapi'
import { z } from 'zod'
import { BatchListSchema, BatchRequestSchema, BatchSchema } from '../../src/handlers/batches-schema.ts'
import { BatchListQuerySchema } from '../../src/handlers/batches.ts'
import {
  FineTuningCheckpointListSchema,
  FineTuningEventListSchema,
  FineTuningJobListSchema,
  FineTuningJobSchema,
  FineTuningRequestSchema,
} from '../../src/handlers/fine-tuning-schema.ts'
import { CheckpointListQuerySchema, FineTuningListQuerySchema } from '../../src/handlers/fine-tuning.ts'
import { JobListQuerySchema, JobListSchema, JobSchema } from '../../src/handlers/jobs-schema.ts'
import {
  ClassifyRequestSchema,
  ClassifyResponseSchema,
  FillMaskRequestSchema,
  FillMaskResponseSchema,
  MatchRequestSchema,
  MatchResponseSchema,
  MultimodalEmbeddingsRequestSchema,
  MultimodalEmbeddingsResponseSchema,
} from '../../src/handlers/multimodal-schema.ts'
import { answer, errors, KEYED, requestId, toRoute } from './operations.ts'

const idempotencyKey = z
  .string()
  .optional()
  .meta({ description: 'The same request under the same key makes one job; its answer is given again.' })
const prefer = z
  .string()
  .optional()
  .meta({
    description:
      'wait=N, up to 25 seconds: 200 with the result if it is there by then, 202 with the job if not. Without it, and with ' +
      'respond-async: 202 at once.',
    examples: ['wait=20'],
  })
const replayed = z.string().optional().meta({ description: 'true: given again under the Idempotency-Key.' })
const acceptedHeaders = {
  location: z.string().meta({ description: 'The job: /v1/jobs/{id}.' }),
  'preference-applied': z.string().optional(),
  'idempotency-replayed': replayed,
}

function multimodal(name: string, id: string, summary: string, request: z.ZodType, response: z.ZodType): RouteConfig {
  return toRoute({
    method: 'post',
    path: `/v1/multimodal/${name}`,
    id,
    summary,
    key: 'apiKey',
    headers: { prefer, 'idempotency-key': idempotencyKey },
    body: request,
    answers: response,
    description: 'The result, for whom it was worth waiting.',
    refusals: [400, 404, 409, 413, 415, 422, 429],
    more: { 202: answer('The job, which goes on.', JobSchema, acceptedHeaders) },
  })
}

const MULTIMODAL_ROUTES: RouteConfig[] = [
  multimodal(
    'embeddings',
    'createMultimodalEmbeddings',
    'Fused vectors of pictures with texts, on the GPU',
    MultimodalEmbeddingsRequestSchema,
    MultimodalEmbeddingsResponseSchema,
  ),
  multimodal(
    'match',
    'createMatch',
    'How well pictures and texts match, on the GPU',
    MatchRequestSchema,
    MatchResponseSchema,
  ),
  multimodal(
    'fill-mask',
    'createFillMask',
    'Words and patches in place of masks, on the GPU',
    FillMaskRequestSchema,
    FillMaskResponseSchema,
  ),
  multimodal(
    'classify',
    'createClassification',
    'Labels or values from a fine-tuned model, on the GPU',
    ClassifyRequestSchema,
    ClassifyResponseSchema,
  ),
]

const BATCH_ROUTES: RouteConfig[] = [
  toRoute({
    method: 'post',
    path: '/v1/batches',
    id: 'createBatch',
    summary: 'A file of requests, answered on the GPU within a day or so',
    key: 'apiKey',
    headers: { 'idempotency-key': idempotencyKey },
    body: BatchRequestSchema,
    answers: BatchSchema,
    description: 'The batch, which is also a job.',
    refusals: [400, 404, 409, 413, 415, 422, 429],
  }),
  toRoute({
    method: 'get',
    path: '/v1/batches',
    id: 'listBatches',
    summary: 'The project’s batches, newest first',
    key: 'apiKey',
    query: BatchListQuerySchema,
    answers: BatchListSchema,
    description: 'A page of them.',
    refusals: [400],
  }),
  toRoute({
    method: 'get',
    path: '/v1/batches/{batch}',
    id: 'retrieveBatch',
    summary: 'A batch as it stands',
    key: 'apiKey',
    answers: BatchSchema,
    description: 'The batch.',
    refusals: [404],
  }),
  toRoute({
    method: 'post',
    path: '/v1/batches/{batch}/cancel',
    id: 'cancelBatch',
    summary: 'Ends a batch',
    key: 'apiKey',
    answers: BatchSchema,
    description: 'Cancelled, or, while a worker has it, cancelling.',
    refusals: [404, 409],
  }),
]

const ROOT = '/v1/fine_tuning/jobs'
const fineTuningMove = (name: 'cancel' | 'pause' | 'resume', summary: string): RouteConfig =>
  toRoute({
    method: 'post',
    path: `${ROOT}/{job}/${name}`,
    id: `${name}FineTuningJob`,
    summary,
    key: 'apiKey',
    answers: FineTuningJobSchema,
    description: 'The job. A running one is asked to stop, which takes until its worker’s next heartbeat.',
    refusals: [404, 409],
  })

const FINE_TUNING_ROUTES: RouteConfig[] = [
  toRoute({
    method: 'post',
    path: ROOT,
    id: 'createFineTuningJob',
    summary: 'Trains a model on a data set',
    key: 'apiKey',
    headers: { 'idempotency-key': idempotencyKey },
    body: FineTuningRequestSchema,
    answers: FineTuningJobSchema,
    description: 'The fine-tuning job, which is also a job.',
    refusals: [400, 404, 409, 413, 415, 422, 429],
  }),
  toRoute({
    method: 'get',
    path: ROOT,
    id: 'listFineTuningJobs',
    summary: 'The project’s fine-tuning jobs, newest first',
    key: 'apiKey',
    query: FineTuningListQuerySchema,
    answers: FineTuningJobListSchema,
    description: 'A page of them.',
    refusals: [400],
  }),
  toRoute({
    method: 'get',
    path: `${ROOT}/{job}`,
    id: 'retrieveFineTuningJob',
    summary: 'A fine-tuning job as it stands',
    key: 'apiKey',
    answers: FineTuningJobSchema,
    description: 'The job.',
    refusals: [404],
  }),
  fineTuningMove('cancel', 'Ends a fine-tuning job'),
  fineTuningMove('pause', 'Sets a fine-tuning job aside, with a checkpoint'),
  fineTuningMove('resume', 'Goes on with a paused fine-tuning job'),
  toRoute({
    method: 'get',
    path: `${ROOT}/{job}/events`,
    id: 'listFineTuningEvents',
    summary: 'What has happened, newest first; /v1/jobs/{id}/events has it live',
    key: 'apiKey',
    query: FineTuningListQuerySchema,
    answers: FineTuningEventListSchema,
    description: 'A page of events.',
    refusals: [400, 404],
  }),
  toRoute({
    method: 'get',
    path: `${ROOT}/{job}/checkpoints`,
    id: 'listFineTuningCheckpoints',
    summary: 'The checkpoints that the job goes on from, newest first',
    key: 'apiKey',
    query: CheckpointListQuerySchema,
    answers: FineTuningCheckpointListSchema,
    description: 'A page of checkpoints.',
    refusals: [400, 404],
  }),
]

const EVENT_STREAM =
  'Server-sent events, `id` their number within the job: state, log, metrics, progress, checkpoint, each with a JSON object. ' +
  'In the end one `end` with the job, and the stream is over: a client should not connect again.'

const JOB_ROUTES: RouteConfig[] = [
  toRoute({
    method: 'get',
    path: '/v1/jobs',
    id: 'listJobs',
    summary: 'The project’s jobs of every kind, newest first',
    key: 'apiKey',
    query: JobListQuerySchema,
    answers: JobListSchema,
    description: 'A page of them.',
    refusals: [400],
  }),
  toRoute({
    method: 'get',
    path: '/v1/jobs/{job}',
    id: 'retrieveJob',
    summary: 'A job as it stands, with its result once it has one',
    key: 'apiKey',
    answers: JobSchema,
    description: 'The job.',
    refusals: [404, 413],
  }),
  toRoute({
    method: 'post',
    path: '/v1/jobs/{job}/cancel',
    id: 'cancelJob',
    summary: 'Ends a job',
    key: 'apiKey',
    answers: JobSchema,
    description: 'Cancelled, or, while a worker has it, asked to stop.',
    refusals: [404, 409],
  }),
  toRoute({
    method: 'post',
    path: '/v1/jobs/{job}/retry',
    id: 'retryJob',
    summary: 'Does a job again that has ended without a result',
    key: 'apiKey',
    answers: JobSchema,
    description: 'It waits for a worker again.',
    refusals: [404, 409],
  }),
  {
    method: 'get',
    path: '/v1/jobs/{job}/events',
    operationId: 'streamJobEvents',
    summary: 'What happens to a job, as it happens',
    security: [{ apiKey: [] }],
    request: {
      params: z.object({ job: z.string() }),
      headers: z.object({
        'last-event-id': z
          .string()
          .optional()
          .meta({ description: 'Goes on after this event; from the beginning without it.' }),
      }),
    },
    responses: {
      200: {
        description: EVENT_STREAM,
        headers: z.object(requestId),
        content: { 'text/event-stream': { schema: z.string() } },
      },
      ...errors(400, 404, ...KEYED),
    },
  },
  {
    method: 'get',
    path: '/metrics',
    operationId: 'getMetrics',
    summary: 'Counts and durations of jobs for Prometheus; needs the scope admin',
    security: [{ apiKey: [] }],
    responses: {
      200: {
        description: 'Text format 0.0.4.',
        headers: z.object(requestId),
        content: { 'text/plain': { schema: z.string() } },
      },
      ...errors(...KEYED),
    },
  },
]

export const ROUTES_OF_JOBS: RouteConfig[] = [
  ...MULTIMODAL_ROUTES,
  ...BATCH_ROUTES,
  ...FINE_TUNING_ROUTES,
  ...JOB_ROUTES,
]

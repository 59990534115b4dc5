// The wire form of /v1/jobs: one object for every kind of job, and the events of its stream.

import { z } from 'zod'
import { JOB_KINDS } from '../jobs/kinds.ts'
import { JOB_STATES } from '../jobs/states.ts'
import { JobErrorSchema, ProgressSchema } from '../jobs/worker-protocol.ts'
import { MetadataSchema } from './job-options.ts'
import {
  ClassifyResponseSchema,
  FillMaskResponseSchema,
  MatchResponseSchema,
  MultimodalEmbeddingsResponseSchema,
} from './multimodal-schema.ts'

const seconds = z.int().meta({ description: 'Unix seconds.' })

export const JobSchema = z
  .object({
    id: z.string().meta({ description: 'Of a fine-tuning job (ftjob-) or a batch (batch_): the same there and here.' }),
    object: z.literal('job'),
    kind: z.enum(JOB_KINDS),
    status: z.enum(JOB_STATES).meta({
      description:
        'stored: kept, not yet through the Queue. queued: ready for a worker. running, paused. succeeded; failed: another ' +
        'attempt would end the same way; dead: every attempt was used up; cancelled; expired: its time was over.',
    }),
    model: z.string(),
    created_at: seconds,
    started_at: seconds.nullable().meta({ description: 'Of the present or last attempt.' }),
    ended_at: seconds.nullable(),
    expires_at: seconds.nullable().meta({ description: 'When it expires unless it has ended.' }),
    attempts: z.int(),
    max_attempts: z.int(),
    max_runtime_seconds: z.int(),
    queue_position: z.int().nullable().meta({
      description:
        'Jobs that go before it, 0 for the next; 1000 stands for 1000 and more. Null unless it waits, and in lists.',
    }),
    waiting_for: z.literal('worker').nullable().meta({ description: 'worker: no connected worker can do it.' }),
    worker: z.string().nullable(),
    cancel_requested: z.boolean(),
    pause_requested: z.boolean(),
    progress: ProgressSchema.nullable(),
    error: JobErrorSchema.nullable().meta({
      description: 'The last one; a job that is tried again keeps it until it ends.',
    }),
    output_files: z.array(z.object({ id: z.string(), filename: z.string(), bytes: z.int() })),
    usage: z.object({ gpu_seconds: z.number(), total_tokens: z.int(), images: z.int() }),
    metadata: MetadataSchema.nullable(),
    result: z
      .union([MultimodalEmbeddingsResponseSchema, MatchResponseSchema, FillMaskResponseSchema, ClassifyResponseSchema])
      .optional()
      .meta({ description: 'Of a multimodal job that has succeeded: its route’s answer. Lists leave it out.' }),
  })
  .meta({ id: 'Job' })

export const JobListSchema = z
  .object({
    object: z.literal('list'),
    data: z.array(JobSchema),
    first_id: z.string().nullable(),
    last_id: z.string().nullable(),
    has_more: z.boolean(),
  })
  .meta({ id: 'JobList' })

const kinds = z.enum(JOB_KINDS)
export const JobListQuerySchema = z.object({
  kind: kinds.optional(),
  after: z.string().max(64).optional().meta({ description: 'Id of the last job of the page before.' }),
  limit: z.coerce.number().int().min(1).max(100).default(20),
  order: z.enum(['asc', 'desc']).default('desc').meta({ description: 'By the time of creation.' }),
})

export type Job = z.infer<typeof JobSchema>

// The wire form of /v1/batches: OpenAI's batch object, its list, and what is read of a request.

import { z } from 'zod'
import { BATCH_ENDPOINTS } from '../jobs/job-work.ts'
import { maxRuntimeSecondsOf } from '../jobs/kinds.ts'
import { ExpiresAfterSchema } from './files-schema.ts'
import { maxRuntimeSchema, MetadataSchema } from './job-options.ts'

const MAX_WINDOW_HOURS = 168
const WINDOW = /^([1-9]\d{0,2})h$/

/** OpenAI knows 24h alone. */
const CompletionWindowSchema = z
  .string()
  .refine((window) => completionWindowMs(window) !== null, `expected 1h to ${MAX_WINDOW_HOURS}h, as in 24h`)
  .meta({ description: `Hours until it expires, 1h to ${MAX_WINDOW_HOURS}h.`, examples: ['24h'] })

/** @returns null for what is no window */
export function completionWindowMs(window: string): number | null {
  const hours = Number(WINDOW.exec(window)?.[1] ?? 0)
  return hours >= 1 && hours <= MAX_WINDOW_HOURS ? hours * 3_600_000 : null
}

export const BatchRequestSchema = z
  .object({
    input_file_id: z.string().meta({ description: 'A file of purpose batch: JSON Lines of requests to the endpoint.' }),
    endpoint: z.enum(BATCH_ENDPOINTS),
    completion_window: CompletionWindowSchema,
    output_expires_after: ExpiresAfterSchema.nullish().meta({
      description: 'Of the files that it leaves. Default: never.',
    }),
    metadata: MetadataSchema.nullish(),
    x_flava: z.object({ max_runtime_seconds: maxRuntimeSchema(maxRuntimeSecondsOf('batch')).optional() }).nullish(),
  })
  .meta({ id: 'BatchRequest' })

const seconds = z.int().nullable()

export const BatchSchema = z
  .object({
    id: z.string(),
    object: z.literal('batch'),
    endpoint: z.enum(BATCH_ENDPOINTS),
    model: z.string(),
    errors: z
      .object({
        object: z.literal('list'),
        data: z.array(
          z.object({
            code: z.string(),
            message: z.string(),
            param: z.string().nullable(),
            line: z.int().nullable().meta({ description: 'Of the input file, counted from 1.' }),
          }),
        ),
      })
      .nullable(),
    input_file_id: z.string(),
    completion_window: z.string(),
    status: z.enum([
      'validating',
      'failed',
      'in_progress',
      'finalizing',
      'completed',
      'expired',
      'cancelling',
      'cancelled',
    ]),
    output_file_id: z
      .string()
      .nullable()
      .meta({ description: 'Of a batch that has completed; one that is cancelled or expires leaves none.' }),
    error_file_id: z.string().nullable().meta({ description: 'The lines that failed, with their errors.' }),
    created_at: z.int(),
    in_progress_at: seconds,
    expires_at: seconds,
    finalizing_at: seconds,
    completed_at: seconds,
    failed_at: seconds,
    expired_at: seconds,
    cancelling_at: seconds,
    cancelled_at: seconds,
    request_counts: z.object({ total: z.int(), completed: z.int(), failed: z.int() }),
    metadata: MetadataSchema.nullable(),
    x_flava: z.object({
      engine: z.literal('gpu').meta({ description: 'Where all of its requests ran.' }),
      job: z.string().meta({ description: 'The same batch under GET /v1/jobs/{id}.' }),
      state: z.string(),
      gpu_seconds: z.number(),
    }),
  })
  .meta({ id: 'Batch' })

export const BatchListSchema = z
  .object({
    object: z.literal('list'),
    data: z.array(BatchSchema),
    first_id: z.string().nullable(),
    last_id: z.string().nullable(),
    has_more: z.boolean(),
  })
  .meta({ id: 'BatchList' })

export type Batch = z.infer<typeof BatchSchema>

// The wire form of /v1/fine_tuning/jobs: OpenAI's job, event and checkpoint objects, and what is read of a request.

import { z } from 'zod'
import { MethodSchema } from '../jobs/job-work.ts'
import { maxRuntimeSecondsOf } from '../jobs/kinds.ts'
import { maxRuntimeSchema, MetadataSchema } from './job-options.ts'

const MAX_MEDIA_FILES = 16
const MAX_SEED = 2 ** 31 - 1

/** The field from before there were methods. */
const OldHyperparametersSchema = z
  .record(z.string(), z.unknown())
  .nullish()
  .meta({ deprecated: true, description: 'As method.supervised.hyperparameters, when there is no method.' })

export const FineTuningRequestSchema = z
  .object({
    model: z.string().meta({ description: 'A model id of GET /v1/models; a fine-tuned one goes on from where it is.' }),
    training_file: z.string().meta({ description: 'A file of purpose fine-tune: JSON Lines.' }),
    validation_file: z.string().nullish(),
    suffix: z
      .string()
      .regex(/^[A-Za-z0-9._-]{1,64}$/, 'expected 1 to 64 of A-Z, a-z, 0-9, ".", "_" and "-"')
      .nullish()
      .meta({ description: 'Becomes part of the model’s id.' }),
    seed: z.int().min(0).max(MAX_SEED).nullish(),
    method: MethodSchema.nullish(),
    hyperparameters: OldHyperparametersSchema,
    integrations: z.array(z.unknown()).max(0, 'none are offered').nullish(),
    metadata: MetadataSchema.nullish(),
    x_flava: z
      .object({
        media_files: z
          .array(z.string())
          .max(MAX_MEDIA_FILES)
          .optional()
          .meta({ description: 'Files of purpose fine-tune: zip or tar archives of the pictures that the rows name.' }),
        max_runtime_seconds: maxRuntimeSchema(maxRuntimeSecondsOf('fine_tuning')).optional(),
      })
      .nullish(),
  })
  .meta({ id: 'FineTuningRequest' })

const hyperparameter = z.union([z.literal('auto'), z.number(), z.string()])
const methodPart = z.object({ hyperparameters: z.record(z.string(), hyperparameter) }).optional()

export const FineTuningJobSchema = z
  .object({
    id: z.string(),
    object: z.literal('fine_tuning.job'),
    created_at: z.int(),
    finished_at: z.int().nullable(),
    estimated_finish: z.int().nullable(),
    model: z.string(),
    fine_tuned_model: z.string().nullable(),
    organization_id: z.string().meta({ description: 'The project.' }),
    status: z.enum(['validating_files', 'queued', 'running', 'succeeded', 'failed', 'cancelled']).meta({
      description: 'OpenAI’s words, which know no pause: a paused job is queued here and paused in x_flava.state.',
    }),
    training_file: z.string(),
    validation_file: z.string().nullable(),
    result_files: z.array(z.string()).meta({ description: 'Metrics first, then the files of the checkpoint.' }),
    trained_tokens: z.int().nullable(),
    hyperparameters: z
      .object({ n_epochs: hyperparameter, batch_size: hyperparameter, learning_rate_multiplier: hyperparameter })
      .partial(),
    method: z
      .object({
        type: z.enum(['supervised', 'contrastive', 'linear_probe', 'pretrain']),
        supervised: methodPart,
        contrastive: methodPart,
        linear_probe: methodPart,
        pretrain: methodPart,
      })
      .meta({ description: 'One part beside the type, named after it.' }),
    seed: z.int(),
    error: z
      .object({ code: z.string(), message: z.string(), param: z.string().nullable(), line: z.int().nullable() })
      .nullable(),
    integrations: z.array(z.unknown()),
    metadata: MetadataSchema.nullable(),
    x_flava: z.object({
      state: z.string().meta({ description: 'The status of GET /v1/jobs/{id}.' }),
      media_files: z.array(z.string()),
      metrics: z.record(z.string(), z.number()).nullable().meta({ description: 'Of the finished model.' }),
      gpu_seconds: z.number(),
    }),
  })
  .meta({ id: 'FineTuningJob' })

export const FineTuningJobListSchema = z
  .object({ object: z.literal('list'), data: z.array(FineTuningJobSchema), has_more: z.boolean() })
  .meta({ id: 'FineTuningJobList' })

export const FineTuningEventSchema = z
  .object({
    id: z.string(),
    object: z.literal('fine_tuning.job.event'),
    created_at: z.int(),
    level: z.enum(['info', 'warn', 'error']),
    message: z.string(),
    type: z.enum(['message', 'metrics']),
    data: z.record(z.string(), z.unknown()),
  })
  .meta({ id: 'FineTuningEvent' })

export const FineTuningEventListSchema = z
  .object({ object: z.literal('list'), data: z.array(FineTuningEventSchema), has_more: z.boolean() })
  .meta({ id: 'FineTuningEventList' })

export const FineTuningCheckpointSchema = z
  .object({
    id: z.string(),
    object: z.literal('fine_tuning.job.checkpoint'),
    created_at: z.int(),
    fine_tuning_job_id: z.string(),
    fine_tuned_model_checkpoint: z.string().meta({ description: 'A name; checkpoints are resumed from, not served.' }),
    step_number: z.int(),
    metrics: z.record(z.string(), z.number()),
  })
  .meta({ id: 'FineTuningCheckpoint' })

export const FineTuningCheckpointListSchema = z
  .object({
    object: z.literal('list'),
    data: z.array(FineTuningCheckpointSchema),
    first_id: z.string().nullable(),
    last_id: z.string().nullable(),
    has_more: z.boolean(),
  })
  .meta({ id: 'FineTuningCheckpointList' })

export type FineTuningJobAnswer = z.infer<typeof FineTuningJobSchema>
export type FineTuningEvent = z.infer<typeof FineTuningEventSchema>
export type FineTuningCheckpoint = z.infer<typeof FineTuningCheckpointSchema>

// The wire contract between the gateway and GPU workers: bodies of POST /v1/worker/{lease,heartbeat,complete,fail,urls}.
// contract/worker-protocol.schema.json is made from these schemas; the Python worker knows that file and not this one.

import { z } from 'zod'
import { HEADS, JOB_KINDS } from './kinds.ts'

/** Told in `x-flava-contract` by both sides, which refuse each other by name when it differs. */
export const CONTRACT_VERSION = 1
export const CONTRACT_HEADER = 'x-flava-contract'

const MAX_LEASED_JOBS = 32
const [MIN_LEASE_MS, MAX_LEASE_MS] = [1_000, 600_000] as const
/** A held request occupies a waiter; a worker asks again at once. */
export const MAX_WAIT_MS = 25_000
/** A result that is longer travels as an output object named `result.json`. */
export const MAX_INLINE_BYTES = 256 * 1024
export const RESULT_OBJECT = 'result.json'
export const INPUT_OBJECT = 'input.json'

const jobId = z.string().regex(/^(job_|ftjob-|batch_)[0-9a-f]{24}$/)
const fence = z.int().min(1)
const bytes = z.int().min(0)
const sha256 = z.string().regex(/^[0-9a-f]{64}$/)
/** Names are made by our own code on both sides, never from a user's text. */
export const ObjectNameSchema = z.string().regex(/^[a-z0-9][a-z0-9._-]{0,63}(\/[a-z0-9][a-z0-9._-]{0,63}){0,2}$/)

export const ObjectSchema = z.object({ name: ObjectNameSchema, bytes, sha256 }).meta({
  description: 'One object of a job: what it is called within the job, its length and the hash that must hold.',
})

const WorkerModelSchema = z.object({
  id: z.string().min(1).max(256),
  heads: z.array(z.enum(HEADS)).meta({ description: 'Parts of the checkpoint that were trained.' }),
  is_loaded: z.boolean(),
})

export const WorkerSchema = z.object({
  id: z.string().regex(/^[A-Za-z0-9._-]{1,64}$/),
  version: z.string().max(64),
  device: z.enum(['cpu', 'cuda', 'mps']),
  gpus: z.int().min(0),
  memory_mib: z.int().min(1).meta({ description: 'Of one GPU, or of the machine where there is none.' }),
  kinds: z.array(z.enum(JOB_KINDS)).min(1),
  models: z.array(WorkerModelSchema).max(256),
})

export const LeaseRequestSchema = z.object({
  worker: WorkerSchema,
  max_jobs: z.int().min(1).max(MAX_LEASED_JOBS),
  lease_ms: z.int().min(MIN_LEASE_MS).max(MAX_LEASE_MS),
  wait_ms: z.int().min(0).max(MAX_WAIT_MS),
})

export const ModelRefSchema = z.object({
  id: z.string(),
  base: z.string().meta({ description: "The worker's own model that it is, or was fine-tuned from." }),
  objects: z
    .array(ObjectSchema)
    .meta({ description: "A fine-tuned model's files, as model/…; empty for a base model." }),
})

export const CheckpointSchema = z.object({
  step: z.int().min(0),
  objects: z.array(ObjectSchema).min(1).max(64),
  metrics: z.record(z.string(), z.number()),
})

export const LeaseSchema = z.object({
  job: jobId,
  kind: z.enum(JOB_KINDS),
  fence: fence.meta({ description: 'Grows with every lease of the job; every later call must carry it.' }),
  attempt: z.int().min(1),
  lease_ms: z.int().meta({ description: 'From now on. A duration, since clocks differ.' }),
  max_runtime_ms: z.int().min(0).meta({ description: 'What is left of it for this attempt.' }),
  model: ModelRefSchema,
  input: z.union([z.object({ inline: z.unknown() }), z.object({ object: ObjectSchema })]),
  objects: z.array(ObjectSchema).meta({ description: 'What the job may read besides: data sets, pictures.' }),
  resume: CheckpointSchema.nullable(),
})

export const LeaseResponseSchema = z.object({ leases: z.array(LeaseSchema) })

export const ProgressSchema = z.object({
  done: z.number().min(0),
  total: z.number().min(0),
  unit: z.string().max(32),
  eta_seconds: z.number().min(0).nullable(),
  counts: z.record(z.string().max(32), z.int().min(0)).optional(),
})

export const WorkerEventSchema = z.discriminatedUnion('type', [
  z.object({
    type: z.literal('log'),
    level: z.enum(['info', 'warn', 'error']),
    message: z.string().min(1).max(4096),
  }),
  z.object({ type: z.literal('metrics'), step: z.int().min(0), values: z.record(z.string(), z.number()) }),
])

export const HeartbeatRequestSchema = z.object({
  worker: z.string(),
  lease_ms: z.int().min(MIN_LEASE_MS).max(MAX_LEASE_MS),
  jobs: z
    .array(
      z.object({
        job: jobId,
        fence,
        sequence: z
          .int()
          .min(1)
          .meta({ description: 'Counts the heartbeats of this lease; one seen before is not written again.' }),
        gpu_seconds: z.number().min(0).meta({ description: 'Used by this lease so far.' }),
        progress: ProgressSchema.optional(),
        events: z.array(WorkerEventSchema).max(256).optional(),
        checkpoint: CheckpointSchema.optional(),
      }),
    )
    .min(1)
    .max(MAX_LEASED_JOBS),
})

export const HeartbeatResponseSchema = z.object({
  jobs: z.array(
    z.object({
      job: jobId,
      is_held: z.boolean().meta({ description: 'False: somebody else has it, or it has ended; stop at once.' }),
      should_cancel: z.boolean(),
      should_pause: z.boolean(),
    }),
  ),
})

export const CompleteRequestSchema = z.object({
  worker: z.string(),
  job: jobId,
  fence,
  result: z.unknown().meta({ description: 'JSON, or null where outputs hold it.' }),
  outputs: z.array(ObjectSchema).max(256),
  usage: z.object({ gpu_seconds: z.number().min(0), tokens: z.int().min(0), images: z.int().min(0) }),
})
export const CompleteResponseSchema = z.object({
  is_first: z.boolean().meta({ description: 'False when this very completion had arrived before.' }),
})

export const JobErrorSchema = z.object({
  code: z.string().regex(/^[a-z][a-z0-9_]{0,63}$/),
  message: z.string().min(1).max(4096),
  param: z.string().max(256).nullable(),
  line: z.int().min(1).nullable().meta({ description: 'Of the data file, counted from 1.' }),
})

export const FailRequestSchema = z.object({
  worker: z.string(),
  job: jobId,
  fence,
  outcome: z.enum(['retry', 'failed', 'handed_back', 'cancelled', 'paused']).meta({
    description:
      'retry: another attempt may succeed; failed: none would; handed_back: the worker is going, no attempt is counted; ' +
      'cancelled and paused: as asked for.',
  }),
  error: JobErrorSchema.nullable(),
  checkpoint: CheckpointSchema.nullable(),
  gpu_seconds: z.number().min(0),
})
export const FailResponseSchema = z.object({ state: z.string() })

export const UrlsRequestSchema = z.object({
  worker: z.string(),
  job: jobId,
  fence,
  reads: z.array(ObjectNameSchema).max(256),
  writes: z.array(ObjectSchema).max(256),
})
export const UrlsResponseSchema = z.object({
  expires_in_seconds: z.int(),
  reads: z.array(z.object({ name: z.string(), url: z.string(), bytes, sha256 })),
  writes: z.array(z.object({ name: z.string(), url: z.string() })),
})

export type JobObject = z.infer<typeof ObjectSchema>
export type WorkerDescription = z.infer<typeof WorkerSchema>
export type LeaseRequest = z.infer<typeof LeaseRequestSchema>
export type Lease = z.infer<typeof LeaseSchema>
export type ModelRef = z.infer<typeof ModelRefSchema>
export type Checkpoint = z.infer<typeof CheckpointSchema>
export type Progress = z.infer<typeof ProgressSchema>
export type WorkerEvent = z.infer<typeof WorkerEventSchema>
export type HeartbeatRequest = z.infer<typeof HeartbeatRequestSchema>
export type HeartbeatResponse = z.infer<typeof HeartbeatResponseSchema>
export type CompleteRequest = z.infer<typeof CompleteRequestSchema>
export type FailRequest = z.infer<typeof FailRequestSchema>
export type UrlsRequest = z.infer<typeof UrlsRequestSchema>
export type UrlsResponse = z.infer<typeof UrlsResponseSchema>
export type JobError = z.infer<typeof JobErrorSchema>

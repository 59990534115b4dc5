// What a job's record keeps of its request: all that its answers need beside the result. Written when the job is made and
// parsed when it is shown.

import { z } from 'zod'
import { BATCH_ENDPOINTS, FineTuningInputSchema } from '../jobs/job-work.ts'

const metadata = z.record(z.string(), z.string()).nullable()

export const EmbeddingsJobSchema = z.object({
  metadata,
  encodingFormat: z.enum(['float', 'base64']),
  space: z.string(),
})
export const MatchJobSchema = z.object({
  metadata,
  /** How the scores were asked for, and so how they are answered. */
  form: z.enum(['pairs', 'ranking', 'matrix']),
  /** Texts of a matrix, which make its columns. */
  columns: z.int(),
})
export const FillMaskJobSchema = z.object({
  metadata,
  /** Patches along each side of the picture. */
  side: z.int(),
})
export const ClassifyJobSchema = z.object({ metadata })

export const BatchJobSchema = z.object({
  metadata,
  endpoint: z.enum(BATCH_ENDPOINTS),
  inputFile: z.string(),
  completionWindow: z.string(),
  /** Absent in what older releases kept. */
  outputExpiresAfterSeconds: z.int().nullable().default(null),
})

export const FineTuningJobSchema = z.object({
  metadata,
  trainingFile: z.string(),
  validationFile: z.string().nullable(),
  mediaFiles: z.array(z.string()),
  suffix: z.string().nullable(),
  seed: z.int(),
  method: FineTuningInputSchema.shape.method,
})

/** What every kind's request has. */
export const AnyJobSchema = z.object({ metadata })

export type EmbeddingsJob = z.infer<typeof EmbeddingsJobSchema>
export type MatchJob = z.infer<typeof MatchJobSchema>
export type FillMaskJob = z.infer<typeof FillMaskJobSchema>
export type ClassifyJob = z.infer<typeof ClassifyJobSchema>
export type BatchJob = z.infer<typeof BatchJobSchema>
export type FineTuningJob = z.infer<typeof FineTuningJobSchema>

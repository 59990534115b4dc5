// Where a checkpoint comes from, as far as somebody has said so: provenance.json, and the training.json that training
// leaves. What nobody said the model card does not claim.
import { existsSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { z } from 'zod'
import { ProvenanceError } from './errors.ts'

const PROVENANCE_FILE = 'provenance.json'

/** Markdown, a line an item. */
const lines = z.array(z.string()).min(1)

export const provenanceSchema = z.strictObject({
  /** sha256 of the weights that this is said of; without it, of any in the folder. */
  checkpoint: z.string().optional(),
  summary: lines,
  language: z.string().optional(),
  tags: z.array(z.string()).default([]),
  datasets: z.array(z.string()).default([]),
  training: lines.optional(),
  data: lines.optional(),
  intendedUse: lines.optional(),
  limits: lines.optional(),
  /** What a reader has to know about the splits that scores are given for. */
  scores: lines.optional(),
  attributions: lines.optional(),
})

export type Provenance = z.infer<typeof provenanceSchema>

/** checkpoint/training.json, as far as the card tells it; a checkpoint from elsewhere has none. */
export const trainingSchema = z.object({
  stages: z.array(
    z.object({
      name: z.string(),
      stage: z.string(),
      updates: z.number(),
      batch_size: z.number(),
      learning_rate: z.number(),
      seconds: z.number(),
    }),
  ),
  heads: z.array(z.string()),
  data_manifest: z.string(),
})

export type TrainingRecord = z.infer<typeof trainingSchema>

export interface Origin {
  provenance: Provenance | null
  training: TrainingRecord | null
}

export interface OriginOptions {
  /** Checkpoint folder. */
  checkpoint: string
  checkpointSha256: string
  /** A provenance file that goes before the folder's. */
  provenanceFile: string | null
}

/** @throws ProvenanceError for a file that cannot be read; one of other weights is left out with a word about it */
export async function readOrigin({ checkpoint, checkpointSha256, provenanceFile }: OriginOptions): Promise<Origin> {
  const path = provenanceFile ?? join(checkpoint, PROVENANCE_FILE)
  if (provenanceFile !== null && !existsSync(path)) throw new ProvenanceError(`${path}: no such file`)
  const provenance = await readJson(path, provenanceSchema)
  const training = await readJson(join(checkpoint, 'training.json'), trainingSchema)
  const described = provenance?.checkpoint
  if (described === undefined || described === checkpointSha256) return { provenance, training }
  const problem = `${path}: describes checkpoint ${described}, this one is ${checkpointSha256}`
  if (provenanceFile !== null) throw new ProvenanceError(problem)
  console.error(`${problem}; left out of the card`)
  return { provenance: null, training }
}

async function readJson<T>(path: string, schema: z.ZodType<T>): Promise<T | null> {
  if (!existsSync(path)) return null
  try {
    return schema.parse(JSON.parse(await readFile(path, 'utf8')))
  } catch (cause) {
    const reason = cause instanceof z.ZodError ? z.prettifyError(cause) : 'not JSON'
    throw new ProvenanceError(`${path}: ${reason}`, { cause })
  }
}

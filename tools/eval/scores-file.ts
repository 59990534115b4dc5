// scores.json beside a model package, as `npm run eval -- … --save` writes it (gpu/flava_gpu/evaluation/saved_scores.py).
import { existsSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { z } from 'zod'

const SCORES_FILE = 'scores.json'

/** One score of the retrieval suite; recalls in percent. */
export const scoreSchema = z.object({
  suite: z.literal('retrieval'),
  split: z.string(),
  engine: z.string(),
  direction: z.enum(['i2t', 't2i']),
  r1: z.number(),
  r5: z.number(),
  r10: z.number(),
  n: z.number(),
})

export type Score = z.infer<typeof scoreSchema>

/** One line of what the model was to reach. */
const targetLineSchema = z.object({
  title: z.string(),
  unit: z.enum(['%', 'MiB']),
  must: z.number().nullable(),
  aim: z.number().nullable(),
  got: z.number(),
  low: z.number().nullable(),
  high: z.number().nullable(),
  n: z.number().nullable(),
  /** What is reached without the model, by name. */
  floors: z.record(z.string(), z.number()),
  verdict: z.string(),
})

const targetsSchema = z.object({
  command: z.string(),
  date: z.string(),
  cpu: z.string(),
  lines: z.array(targetLineSchema),
})

export type TargetLine = z.infer<typeof targetLineSchema>
export type Targets = z.infer<typeof targetsSchema>

const savedScoresSchema = z.object({
  model: z.object({ weights: z.string() }),
  rows: z.array(scoreSchema),
  targets: targetsSchema.optional(),
})

export interface SavedScores {
  /** That they were measured on. */
  weights: string
  rows: Score[]
  targets: Targets | null
}

/** Scores beside a package; null when none were saved. */
export async function readSavedScores(modelDir: string): Promise<SavedScores | null> {
  const path = join(modelDir, SCORES_FILE)
  if (!existsSync(path)) return null
  const { model, rows, targets } = savedScoresSchema.parse(JSON.parse(await readFile(path, 'utf8')))
  return { weights: model.weights, rows, targets: targets ?? null }
}

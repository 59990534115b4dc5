// `--save`: scores beside the model package, with what is needed to make them again.
import { existsSync } from 'node:fs'
import { readFile, writeFile } from 'node:fs/promises'
import { cpus } from 'node:os'
import { join } from 'node:path'
import { z } from 'zod'
import { readManifest } from '../model/load-model.ts'
import type { QuantizationCost, ScoreRow } from './score-table.ts'

const SCORES_FILE = 'scores.json'

const dataManifestSchema = z.object({ hash: z.string() })

/** One score as `--json` and scores.json give it; recalls in percent. */
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

const savedScoresSchema = z.object({ model: z.object({ weights: z.string() }), rows: z.array(scoreSchema) })

export interface SavedRun {
  modelDir: string
  dataDir: string
  rows: readonly ScoreRow[]
  costs: readonly QuantizationCost[]
  gatePoints: number
  /** The flags the run was started with. */
  args: readonly string[]
}

/** Writes scores.json, the record that the model card reads; returns its path. */
export async function saveScores({ modelDir, dataDir, rows, costs, gatePoints, args }: SavedRun): Promise<string> {
  const manifest = await readManifest(modelDir)
  const record = {
    command: ['npm run eval --', ...args].join(' '),
    date: new Date().toISOString(),
    cpu: cpus()[0]?.model.trim() ?? 'unknown',
    node: process.version,
    model: { space: manifest.space, weights: manifest.weights, checkpoint: manifest.checkpoint },
    data: await dataHash(dataDir),
    quantization: { gate_points: gatePoints, costs },
    rows,
  }
  const path = join(modelDir, SCORES_FILE)
  await writeFile(path, `${JSON.stringify(record, null, 2)}\n`)
  return path
}

/** Scores beside a package, and the weights they were measured on; null when none were saved. */
export async function readSavedScores(modelDir: string): Promise<{ weights: string; rows: Score[] } | null> {
  const path = join(modelDir, SCORES_FILE)
  if (!existsSync(path)) return null
  const { model, rows } = savedScoresSchema.parse(JSON.parse(await readFile(path, 'utf8')))
  return { weights: model.weights, rows }
}

/** Identity of a data set. */
export async function dataHash(dataDir: string): Promise<string> {
  return dataManifestSchema.parse(JSON.parse(await readFile(join(dataDir, 'manifest.json'), 'utf8'))).hash
}

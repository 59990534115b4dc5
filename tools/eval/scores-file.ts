// `--save`: scores beside the model package, with what is needed to make them again.
import { readFile, writeFile } from 'node:fs/promises'
import { cpus } from 'node:os'
import { join } from 'node:path'
import { z } from 'zod'
import { readManifest } from '../model/load-model.ts'
import { QUANTIZATION_GATE_POINTS, type QuantizationCost, type ScoreRow } from './score-table.ts'

const dataManifestSchema = z.object({ hash: z.string() })

export interface SavedRun {
  modelDir: string
  dataDir: string
  rows: readonly ScoreRow[]
  costs: readonly QuantizationCost[]
  /** The flags the run was started with. */
  args: readonly string[]
}

/** Writes scores.json, the record that the model card reads; returns its path. */
export async function saveScores({ modelDir, dataDir, rows, costs, args }: SavedRun): Promise<string> {
  const manifest = await readManifest(modelDir)
  const data = dataManifestSchema.parse(JSON.parse(await readFile(join(dataDir, 'manifest.json'), 'utf8')))
  const record = {
    command: ['npm run eval --', ...args].join(' '),
    date: new Date().toISOString(),
    cpu: cpus()[0]?.model.trim() ?? 'unknown',
    node: process.version,
    model: { space: manifest.space, weights: manifest.weights, checkpoint: manifest.checkpoint },
    data: data.hash,
    quantization: { gate_points: QUANTIZATION_GATE_POINTS, costs },
    rows,
  }
  const path = join(modelDir, 'scores.json')
  await writeFile(path, `${JSON.stringify(record, null, 2)}\n`)
  return path
}

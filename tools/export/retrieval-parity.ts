// What quantization costs in retrieval: the dev split through the package and through fp32 PyTorch. Never a test split,
// so that no choice of schemes is made on what the model is judged by.
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { z } from 'zod'
import { scoreSchema } from '../eval/scores-file.ts'
import { runPython } from './python-step.ts'

/** fp32 vectors are the same for every variant, and cost minutes at full geometry. */
const CACHE_DIR = 'build/parity'

const costSchema = z.object({
  split: z.string(),
  direction: z.enum(['i2t', 't2i']),
  /** R@1 of fp32 less R@1 of the package, in points. */
  points: z.number(),
})

const devRetrievalSchema = z.object({
  /** Hash of the data set. */
  data: z.string(),
  rows: z.array(scoreSchema),
  costs: z.array(costSchema),
})

export const retrievalSchema = z.object({
  /** The dev split, measured when the package was made. */
  dev: devRetrievalSchema.nullable(),
  /** What `npm run eval -- retrieval --save` found for these weights, with its floors. */
  saved: z.array(scoreSchema),
})

export type RetrievalParity = z.infer<typeof retrievalSchema>
export type DevRetrieval = z.infer<typeof devRetrievalSchema>
export type RetrievalCost = z.infer<typeof costSchema>

export interface DevRetrievalOptions {
  packageDir: string
  checkpoint: string
  data: string
}

/** @throws PythonStepError when the suite cannot be run */
export async function measureDevRetrieval({
  packageDir,
  checkpoint,
  data,
}: DevRetrievalOptions): Promise<DevRetrieval> {
  const folder = await mkdtemp(join(tmpdir(), 'flava-dev-'))
  try {
    const report = join(folder, 'report.json')
    const paths = ['--model', packageDir, '--checkpoint', checkpoint, '--data', data, '--cache', CACHE_DIR]
    await runPython('flava_gpu.evaluation', ['retrieval', '--split', 'dev', '--report', report, ...paths])
    return devRetrievalSchema.parse(JSON.parse(await readFile(report, 'utf8')))
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

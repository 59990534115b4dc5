// What quantization costs in retrieval: the dev split through the package and through fp32 PyTorch. Never a test split,
// so that no choice of schemes is made on what the model is judged by.
import { createHash } from 'node:crypto'
import { existsSync } from 'node:fs'
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { z } from 'zod'
import { embedWithEdge } from '../eval/edge-engine.ts'
import type { EmbeddingRequest, Embeddings } from '../eval/engine.ts'
import { scoreEngine } from '../eval/score-splits.ts'
import { quantizationCosts } from '../eval/score-table.ts'
import type { ScoreRow } from '../eval/score-table.ts'
import { dataHash, scoreSchema } from '../eval/scores-file.ts'
import { buildSplit, readConceptRows } from '../eval/splits.ts'
import { embedWithTorch, readVectors } from '../eval/torch-engine.ts'

const CACHE_DIR = resolve('build/parity')
const EVALUATE = resolve('gpu/flava_gpu/evaluate.py')

const costSchema = z.object({
  split: z.string(),
  direction: z.enum(['i2t', 't2i']),
  /** R@1 of fp32 less R@1 of the package, in points. */
  points: z.number(),
})

export const retrievalSchema = z.object({
  /** The dev split, measured when the package was made. */
  dev: z.object({ data: z.string(), rows: z.array(scoreSchema), costs: z.array(costSchema) }).nullable(),
  /** What `npm run eval -- retrieval --save` found for these weights, with its floors. */
  saved: z.array(scoreSchema),
})

export type RetrievalParity = z.infer<typeof retrievalSchema>
export type DevRetrieval = NonNullable<RetrievalParity['dev']>
export type RetrievalCost = z.infer<typeof costSchema>

export interface DevRetrievalOptions {
  packageDir: string
  checkpoint: string
  checkpointSha256: string
  data: string
}

export async function measureDevRetrieval(options: DevRetrievalOptions): Promise<DevRetrieval> {
  const { packageDir, data } = options
  const splits = [buildSplit('dev', readConceptRows(data))]
  const images = join(data, 'images')
  const hash = await dataHash(data)
  const edge = await scoreEngine((request) => embedWithEdge(packageDir, request), splits, images)
  const torch = await scoreEngine((request) => embedWithCachedTorch(options, hash, request), splits, images)
  const rows: ScoreRow[] = [
    ...edge.map((row) => ({ suite: 'retrieval' as const, engine: 'edge' as const, ...row })),
    ...torch.map((row) => ({ suite: 'retrieval' as const, engine: 'torch' as const, ...row })),
  ]
  const costs = quantizationCosts(rows).map(({ split, direction, points }) => ({ split, direction, points }))
  return { data: hash, rows, costs }
}

/** fp32 vectors are the same for every variant, and cost minutes at full geometry. */
async function embedWithCachedTorch(
  { checkpoint, checkpointSha256 }: DevRetrievalOptions,
  data: string,
  request: EmbeddingRequest,
): Promise<Embeddings> {
  const key = createHash('sha256').update(`${checkpointSha256} ${data} ${JSON.stringify(request)}`)
  for (const path of [join(checkpoint, 'config.json'), join(checkpoint, 'tokenizer.json'), EVALUATE]) {
    key.update(await readFile(path))
  }
  const path = join(CACHE_DIR, `dev-${key.digest('hex').slice(0, 16)}.f32`)
  if (existsSync(path)) return readVectors(await readFile(path), request)
  const vectors = await embedWithTorch(checkpoint, request)
  await mkdir(CACHE_DIR, { recursive: true })
  const unfinished = `${path}.${process.pid}`
  await writeFile(unfinished, Buffer.concat([...vectors.texts, ...vectors.images].map(toBytes)))
  await rename(unfinished, path)
  return vectors
}

function toBytes({ buffer, byteOffset, byteLength }: Float32Array): Uint8Array {
  return new Uint8Array(buffer, byteOffset, byteLength)
}

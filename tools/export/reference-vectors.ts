// The vectors that fp32 PyTorch makes of the parity inputs, kept under build/ for as long as nothing that decides them
// changes: at full geometry they cost minutes, and every variant of a checkpoint is measured with the same ones.
import { createHash } from 'node:crypto'
import { existsSync, globSync } from 'node:fs'
import { mkdir, mkdtemp, readFile, rename, rm } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { z } from 'zod'
import { ParityVectorsError } from './errors.ts'
import { readParitySet } from './parity-inputs.ts'
import type { ParitySet } from './parity-inputs.ts'
import { runPython } from './python-step.ts'

const CACHE_DIR = resolve('build/parity')
const rowSchema = z.object({ image: z.string(), concept_split: z.string() })

export interface ReferenceOptions {
  /** Folder of a Hugging Face checkpoint. */
  checkpoint: string
  /** Identity of its weights. */
  checkpointSha256: string
  /** Adds the dev split of this data set. */
  data: string | null
}

/** @throws ParityVectorsError when they are of another checkpoint than was asked for */
export async function referenceVectors(options: ReferenceOptions): Promise<ParitySet> {
  const folder = join(CACHE_DIR, await referenceKey(options))
  if (existsSync(join(folder, 'inputs.json'))) console.error(`reference vectors: from ${folder}`)
  else await makeVectors(options, folder)
  const set = await readParitySet(folder)
  if (set.inputs.checkpoint !== options.checkpointSha256) {
    throw new ParityVectorsError(
      `${folder}: expected vectors of checkpoint ${options.checkpointSha256}, got ${set.inputs.checkpoint}`,
    )
  }
  return set
}

/**
 * Changes with all that decides inputs or vectors: checkpoint, data, any of our Python code (what imports what changes
 * too often to be listed here) and the libraries that it runs on.
 * @param pythonDir folder of flava_gpu and its requirements.lock
 */
export async function referenceKey(
  { checkpoint, checkpointSha256, data }: ReferenceOptions,
  pythonDir = 'gpu',
): Promise<string> {
  const hash = createHash('sha256').update(checkpointSha256)
  const paths = [
    ...['config.json', 'tokenizer.json'].map((name) => join(checkpoint, name)),
    ...globSync('flava_gpu/*.py', { cwd: pythonDir })
      .toSorted()
      .map((name) => join(pythonDir, name)),
    join(pythonDir, 'requirements.lock'),
    ...(data === null ? [] : await dataFiles(data)),
  ]
  for (const path of paths) hash.update(await readFile(path)).update('\0')
  return hash.digest('hex').slice(0, 16)
}

/** The rows, and the pictures of those that may be compared. */
async function dataFiles(data: string): Promise<string[]> {
  const rowsPath = join(data, 'pairs.jsonl')
  const rows = (await readFile(rowsPath, 'utf8')).split('\n').filter((line) => line !== '')
  const dev = rows.map((line) => rowSchema.parse(JSON.parse(line))).filter((row) => row.concept_split === 'dev')
  return [rowsPath, ...new Set(dev.map(({ image }) => join(data, 'images', image)))]
}

/** Into a folder of its own first, so that a run that was stopped leaves nothing that looks whole. */
async function makeVectors({ checkpoint, data }: ReferenceOptions, folder: string): Promise<void> {
  await mkdir(CACHE_DIR, { recursive: true })
  const unfinished = await mkdtemp(join(CACHE_DIR, 'unfinished-'))
  try {
    const dataArgs = data === null ? [] : ['--data', data]
    await runPython('flava_gpu.parity', [
      '--checkpoint',
      checkpoint,
      '--out',
      unfinished,
      '--keep-pictures',
      ...dataArgs,
    ])
    await rename(unfinished, folder)
  } finally {
    await rm(unfinished, { recursive: true, force: true })
  }
}

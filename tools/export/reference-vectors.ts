// The vectors that fp32 PyTorch makes of the parity inputs, kept under build/ for as long as nothing that decides them
// changes: at full geometry they cost minutes, and every variant of a checkpoint is measured with the same ones.
import { createHash } from 'node:crypto'
import { existsSync } from 'node:fs'
import { mkdir, mkdtemp, readFile, rename, rm } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { ParityVectorsError } from './errors.ts'
import { readParitySet } from './parity-inputs.ts'
import type { ParitySet } from './parity-inputs.ts'
import { runPython } from './python-step.ts'

const CACHE_DIR = resolve('build/parity')
/** Code that decides inputs or vectors: vectors of other code are not taken for its. */
const SOURCES = ['parity', 'made_up_texts', 'procedural_pictures', 'preprocess'].map((name) =>
  resolve(`gpu/flava_gpu/${name}.py`),
)

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
  const folder = join(CACHE_DIR, await cacheKey(options))
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

async function cacheKey({ checkpoint, checkpointSha256, data }: ReferenceOptions): Promise<string> {
  const hash = createHash('sha256').update(checkpointSha256)
  const ofCheckpoint = ['config.json', 'tokenizer.json'].map((name) => join(checkpoint, name))
  const ofData = data === null ? [] : [join(data, 'pairs.jsonl')]
  for (const path of [...ofCheckpoint, ...ofData, ...SOURCES]) hash.update(await readFile(path))
  return hash.digest('hex').slice(0, 16)
}

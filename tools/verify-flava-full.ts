// `npm run verify-flava-full -- <folder> <image>`: facebook/flava-full against the values that transformers' tests fix,
// and with --package a package made of it against PyTorch on the same inputs. Exit code 1 when anything is off.
import { readFile } from 'node:fs/promises'
import { existsSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { z } from 'zod'
import { AppError } from '../src/errors.ts'
import { encodePictures, encodeTexts } from './export/encode-all.ts'
import { cosine } from './export/similarity.ts'
import { limitsOf } from './export/variants.ts'
import { loadModel } from './model/load-model.ts'
import { floatRows, readTensors } from './model/read-tensors.ts'
import { ensurePythonEnv, PYTHON_ENV } from './python-env.ts'
import { runCommand } from './run-command.ts'

const USAGE = `usage: npm run verify-flava-full -- <checkpoint folder> <image> [options]

<image> is COCO val2017 000000039769.jpg, the picture of two cats that transformers' tests use.

  --package <dir>   also compare this package's embeddings with PyTorch's
  --goldens <file>  other expected values`

const VECTORS_DIR = resolve('build/verify')
const OFF = 1

const inputsSchema = z.object({ inputIds: z.array(z.array(z.int().nonnegative())) })

/** A refusal that the user can act on: printed without a stack trace. */
class VerifyError extends Error {}

try {
  process.exitCode = await main(process.argv.slice(2))
} catch (error) {
  if (!(error instanceof VerifyError || error instanceof AppError)) throw error
  console.error(`error: ${error.message}`)
  process.exitCode = 2
}

async function main(args: string[]): Promise<number> {
  if (args.includes('--help')) {
    console.log(USAGE)
    return 0
  }
  const { folder, image, options } = readArguments(args)
  const python = await ensurePythonEnv()
  const goldens = options.goldens === undefined ? [] : ['--goldens', options.goldens]
  const moduleArgs = ['-m', 'flava_gpu.verify_flava_full', folder, image, '--vectors', VECTORS_DIR, ...goldens]
  const { exitCode } = await runCommand(python, moduleArgs, { env: PYTHON_ENV, isShown: true })
  if (options.package === undefined || exitCode > OFF) return exitCode
  const isNear = await comparePackage(options.package)
  return isNear ? exitCode : OFF
}

function readArguments(args: string[]) {
  const { positionals, values } = parse(args)
  const [folder, image, ...others] = positionals
  if (folder === undefined || image === undefined || others.length > 0) {
    throw new VerifyError(`expected a checkpoint folder and an image, got ${positionals.length} arguments\n\n${USAGE}`)
  }
  for (const path of [folder, image, values.package, values.goldens]) {
    if (path !== undefined && !existsSync(path)) throw new VerifyError(`${path}: no such file or folder`)
  }
  return { folder, image, options: values }
}

function parse(args: string[]) {
  try {
    return parseArgs({
      args,
      allowPositionals: true,
      options: { package: { type: 'string' }, goldens: { type: 'string' } },
    })
  } catch (cause) {
    throw new VerifyError(cause instanceof Error ? cause.message : String(cause), { cause })
  }
}

/** Prints each input's cosine to PyTorch; false when one is below what the package's variant promises. */
async function comparePackage(directory: string): Promise<boolean> {
  const vectors = await readTensors(join(VECTORS_DIR, 'vectors.safetensors'))
  const { inputIds } = inputsSchema.parse(JSON.parse(await readFile(join(VECTORS_DIR, 'inputs.json'), 'utf8')))
  const rgb = vectors.get('pictures')?.bytes
  if (!rgb) throw new VerifyError('pictures: missing from the vectors that Python wrote')
  const model = await loadModel(directory)
  const sequences = inputIds.map((ids) => ({ inputIds: ids, tokenTypeIds: ids.map(() => 0) }))
  const ours = [...encodeTexts(model, sequences), ...encodePictures(model, rgb, 1)]
  const theirs = [...floatRows(vectors, 'text.projected'), ...floatRows(vectors, 'image.projected')]
  const { variant } = model.manifest
  const { meanCosine, p1Cosine } = limitsOf(variant)
  const limit = p1Cosine ?? meanCosine
  console.log(`\n${directory} (${variant}) beside PyTorch, cosine at least ${limit}`)
  return ours
    .map((vector, index) => {
      const name = index < inputIds.length ? `text ${index + 1}` : 'picture'
      const similarity = cosine(vector, theirs[index] ?? new Float32Array(vector.length))
      const isNear = similarity >= limit
      console.log(`${name.padEnd(10)} ${similarity.toFixed(6)}  ${isNear ? 'ok' : 'WRONG'}`)
      return isNear
    })
    .every(Boolean)
}

// The reference engine: PyTorch in fp32 from the checkpoint, pictures through PIL, in a Python process of its own.
import { spawn } from 'node:child_process'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { endianness, tmpdir } from 'node:os'
import { join } from 'node:path'
import { ensurePythonEnv, PYTHON_ENV } from '../python-env.ts'
import type { EmbeddingRequest, Embeddings } from './engine.ts'
import { EngineFailedError } from './errors.ts'

/** @param checkpoint folder of a Hugging Face checkpoint; text length and picture size come from there */
export async function embedWithTorch(checkpoint: string, request: EmbeddingRequest): Promise<Embeddings> {
  const folder = await mkdtemp(join(tmpdir(), 'flava-eval-'))
  try {
    const requestPath = join(folder, 'request.json')
    const vectorsPath = join(folder, 'vectors.f32')
    await writeFile(requestPath, JSON.stringify(request))
    const flags = ['--checkpoint', checkpoint, '--request', requestPath, '--output', vectorsPath]
    await runPython(['-m', 'flava_gpu.evaluate', ...flags])
    return readVectors(await readFile(vectorsPath), request)
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

/** What the process prints goes to standard error: standard output carries scores only. */
async function runPython(args: readonly string[]): Promise<void> {
  const python = await ensurePythonEnv()
  const child = spawn(python, args, { stdio: ['ignore', 2, 2], env: { ...process.env, ...PYTHON_ENV } })
  const exitCode = await new Promise<number | null>((resolve, reject) => {
    child.on('error', reject)
    child.on('close', resolve)
  })
  if (exitCode !== 0) throw new EngineFailedError(`flava_gpu.evaluate ended with ${exitCode}, see its output above`)
}

/** f32 little-endian [texts + images, dim]. */
export function readVectors(bytes: Uint8Array, { texts, images }: EmbeddingRequest): Embeddings {
  if (endianness() !== 'LE') throw new EngineFailedError('vectors are little-endian, this machine is not')
  const count = texts.length + images.length
  const dim = bytes.length / Float32Array.BYTES_PER_ELEMENT / count
  if (!Number.isInteger(dim) || dim === 0) {
    throw new EngineFailedError(`vectors: expected f32 [${count}, dim], got ${bytes.length} bytes`)
  }
  const values = new Float32Array(bytes.slice().buffer)
  const rows = Array.from({ length: count }, (_, row) => values.subarray(row * dim, (row + 1) * dim))
  return { texts: rows.slice(0, texts.length), images: rows.slice(texts.length) }
}

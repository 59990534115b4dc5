// Loads a model package in Node, the way the Workers do in workerd: compiled kernels, manifest, verified weights.
// For export, evaluation, benches and tests; compiles the kernels first when they are out of date.
import { createReadStream } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { loadImageEncoder } from '../../src/flava/image-encoder.ts'
import type { FlavaImageEncoder } from '../../src/flava/image-encoder.ts'
import { parseManifest } from '../../src/flava/manifest.ts'
import type { ModelManifest } from '../../src/flava/manifest.ts'
import { loadTextEncoder } from '../../src/flava/text-encoder.ts'
import type { FlavaTextEncoder } from '../../src/flava/text-encoder.ts'
import { WEIGHTS_FILE } from '../../src/flava/weights.ts'
import { createKernels } from '../../src/wasm/kernels.ts'
import type { KernelBuild, Kernels } from '../../src/wasm/kernels.ts'
import { compileKernels } from './compile-kernels.ts'
import { createSha256 } from './sha256.ts'

const MIB = 1024 * 1024
/** Both encoders in one memory and large batches: more than a Worker's 96 MiB, since Node has no isolate limit. */
const MAX_BYTES = 1024 * MIB

export interface LoadOptions {
  /** Default: the best one this machine has. */
  build?: KernelBuild
  maxBytes?: number
}

export interface LoadedModel {
  manifest: ModelManifest
  kernels: Kernels
  text: FlavaTextEncoder
  image: FlavaImageEncoder
}

/** Load both encoders of the package in `directory` into one linear memory. */
export async function loadModel(directory: string, options: LoadOptions = {}): Promise<LoadedModel> {
  const manifest = await readManifest(directory)
  const kernels = await loadKernels(options)
  const text = await loadTextEncoder(kernels, manifest, openWeights(directory), createSha256)
  const image = await loadImageEncoder(kernels, manifest, openWeights(directory), createSha256)
  return { manifest, kernels, text, image }
}

/** config.json and preprocessor_config.json of a package, parsed and checked. */
export async function readManifest(directory: string): Promise<ModelManifest> {
  const [config, preprocessor] = await Promise.all(
    ['config.json', 'preprocessor_config.json'].map((file) => readFile(join(directory, file), 'utf8')),
  )
  return parseManifest(JSON.parse(config ?? ''), JSON.parse(preprocessor ?? ''))
}

async function loadKernels({ build, maxBytes = MAX_BYTES }: LoadOptions): Promise<Kernels> {
  return createKernels(await compileKernels(), { maxBytes, ...(build === undefined ? {} : { build }) })
}

/** A package's tensor file as the byte stream that the encoders load from. */
function openWeights(directory: string): ReadableStream<Uint8Array> {
  const chunks = createReadStream(join(directory, WEIGHTS_FILE))[Symbol.asyncIterator]()
  return new ReadableStream<Uint8Array>({
    async pull(controller) {
      const next: IteratorResult<unknown> = await chunks.next()
      if (next.done === true) controller.close()
      else if (next.value instanceof Uint8Array) controller.enqueue(next.value)
    },
    async cancel() {
      await chunks.return?.()
    },
  })
}

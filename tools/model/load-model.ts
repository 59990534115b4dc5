// Loads a model package in Node, the way the Workers do in workerd: compiled kernels, manifest, verified weights.
// For export, evaluation, benches and tests; compiles the kernels first when they are out of date.
import { loadImageEncoder } from '../../src/flava/image-encoder.ts'
import type { FlavaImageEncoder } from '../../src/flava/image-encoder.ts'
import type { ModelManifest } from '../../src/flava/manifest.ts'
import { loadManifest } from '../../src/flava/package-source.ts'
import { loadTextEncoder } from '../../src/flava/text-encoder.ts'
import type { FlavaTextEncoder } from '../../src/flava/text-encoder.ts'
import { createKernels } from '../../src/wasm/kernels.ts'
import type { KernelOptions, Kernels } from '../../src/wasm/kernels.ts'
import { compileKernels } from './compile-kernels.ts'
import { packageFolder } from './package-folder.ts'
import { createSha256 } from './sha256.ts'

const MIB = 1024 * 1024
/** Both encoders in one memory and large batches: more than a Worker's 96 MiB, since Node has no isolate limit. */
const MAX_BYTES = 1024 * MIB

/** Default: the best build this machine has, and room for both encoders and large batches. */
export type LoadOptions = Partial<KernelOptions>

export interface LoadedText {
  manifest: ModelManifest
  kernels: Kernels
  text: FlavaTextEncoder
}

export interface LoadedImage {
  manifest: ModelManifest
  kernels: Kernels
  image: FlavaImageEncoder
}

export type LoadedModel = LoadedText & LoadedImage

/** Load both encoders of the package in `directory` into one linear memory. */
export async function loadModel(directory: string, options: LoadOptions = {}): Promise<LoadedModel> {
  const manifest = await readManifest(directory)
  const kernels = await loadKernels(options)
  const text = await loadText(directory, manifest, kernels)
  const image = await loadImage(directory, manifest, kernels)
  return { manifest, kernels, text, image }
}

/** Load the text encoder alone, into a linear memory of its own. */
export async function loadTextModel(directory: string, options: LoadOptions = {}): Promise<LoadedText> {
  const manifest = await readManifest(directory)
  const kernels = await loadKernels(options)
  return { manifest, kernels, text: await loadText(directory, manifest, kernels) }
}

/** Load the image encoder alone, into a linear memory of its own. */
export async function loadImageModel(directory: string, options: LoadOptions = {}): Promise<LoadedImage> {
  const manifest = await readManifest(directory)
  const kernels = await loadKernels(options)
  return { manifest, kernels, image: await loadImage(directory, manifest, kernels) }
}

/** config.json and the preprocessor's settings of a package, parsed and checked. */
export async function readManifest(directory: string): Promise<ModelManifest> {
  return await loadManifest(packageFolder(directory), createSha256)
}

async function loadKernels(options: LoadOptions): Promise<Kernels> {
  return createKernels(await compileKernels(), { maxBytes: MAX_BYTES, ...options })
}

async function loadText(directory: string, manifest: ModelManifest, kernels: Kernels): Promise<FlavaTextEncoder> {
  const weights = await packageFolder(directory).open(manifest.files.text)
  return await loadTextEncoder(kernels, manifest, weights, createSha256)
}

async function loadImage(directory: string, manifest: ModelManifest, kernels: Kernels): Promise<FlavaImageEncoder> {
  const weights = await packageFolder(directory).open(manifest.files.image)
  return await loadImageEncoder(kernels, manifest, weights, createSha256)
}

// The model package as an encoder Worker gets it: static files behind an assets binding.

import { ModelPackageError } from '../errors.ts'
import { parseManifest, type ModelManifest } from '../flava/manifest.ts'
import { WEIGHTS_FILE } from '../flava/weights.ts'
import { createTokenizer, type Tokenizer } from '../tokenize/tokenizer.ts'

/** @throws ModelPackageError */
export async function loadManifest(model: Fetcher): Promise<ModelManifest> {
  const [config, preprocessor] = await Promise.all([
    readJson(model, 'config.json'),
    readJson(model, 'preprocessor_config.json'),
  ])
  return parseManifest(config, preprocessor)
}

/** @throws ModelPackageError */
export async function loadTokenizer(model: Fetcher): Promise<Tokenizer> {
  return createTokenizer(await readJson(model, 'tokenizer.json'))
}

/** The bytes of model.safetensors as they arrive. @throws ModelPackageError */
export async function openWeights(model: Fetcher): Promise<ReadableStream<Uint8Array>> {
  const { body } = await fetchFile(model, WEIGHTS_FILE)
  if (body === null) throw new ModelPackageError(`${WEIGHTS_FILE}: expected content, got none`)
  return body
}

async function readJson(model: Fetcher, file: string): Promise<unknown> {
  const response = await fetchFile(model, file)
  try {
    return await response.json()
  } catch (cause) {
    throw new ModelPackageError(`${file}: expected JSON`, { cause })
  }
}

async function fetchFile(model: Fetcher, file: string): Promise<Response> {
  // The host is never looked up; the binding takes the path.
  const response = await model.fetch(`https://model/${file}`)
  if (response.ok) return response
  await response.body?.cancel()
  throw new ModelPackageError(`${file}: expected it in the model package, got status ${response.status}`)
}

// Moves the tensors one encoder needs from a stream into linear memory, and vouches for them: names, shapes, sha256.
// Tensor bytes are kept as they are in the file, so nothing is ever held twice.
import { ModelPackageError } from '../errors.ts'
import type { Kernels } from '../wasm/kernels.ts'
import { FORMAT_VERSION } from './manifest.ts'
import type { ModelManifest } from './manifest.ts'
import { imageTensors, textTensors } from './package-layout.ts'
import type { TensorSpec, TensorSpecs } from './package-layout.ts'
import { createSafetensorsParser } from './safetensors.ts'
import type { SafetensorsHeader } from './safetensors.ts'

/** A hash of bytes that arrive in pieces; platform/digest.ts and tools/model have one each. */
export interface IncrementalDigest {
  update(bytes: Uint8Array): Promise<void>
  /** The hash of all bytes so far, lower-case hex; ends the digest. */
  hex(): Promise<string>
}

export type CreateDigest = () => IncrementalDigest

/** A Linear in linear memory: u8 [n, k] in the packed layout, f32 scale and bias [n]. */
export interface LinearWeights {
  dataPtr: number
  scalePtr: number
  biasPtr: number
  n: number
  k: number
}

export interface LayerNormWeights {
  gammaPtr: number
  betaPtr: number
}

/** Verified tensors in linear memory, by Hugging Face name. */
export interface TensorTable {
  ptr(name: string): number
  linear(name: string): LinearWeights
  layerNorm(name: string): LayerNormWeights
}

export const WEIGHTS_FILE = 'model.safetensors'

/**
 * Copy `wanted` out of a package's model.safetensors. The memory stays allocated for the life of the kernels; when
 * anything fails it is given back. Loads on one Kernels must not overlap.
 * @param stream all bytes of the file, in chunks of any size
 * @throws ModelPackageError when a name, dtype, shape, the length or the sha256 is not what the manifest promises
 */
export async function loadTensors(
  kernels: Kernels,
  manifest: ModelManifest,
  wanted: TensorSpecs,
  stream: ReadableStream<Uint8Array>,
  createDigest: CreateDigest,
): Promise<TensorTable> {
  const mark = kernels.arena.mark()
  try {
    const pointers = await copyTensors(kernels, manifest, wanted, stream, createDigest())
    return tensorTable(wanted, pointers)
  } catch (error) {
    kernels.arena.release(mark)
    throw error
  }
}

async function copyTensors(
  kernels: Kernels,
  manifest: ModelManifest,
  wanted: TensorSpecs,
  stream: ReadableStream<Uint8Array>,
  digest: IncrementalDigest,
): Promise<ReadonlyMap<string, number>> {
  const pointers = new Map<string, number>()
  const parser = createSafetensorsParser(WEIGHTS_FILE, {
    onHeader(header) {
      checkHeader(header, manifest)
      for (const { name, beginBytes, endBytes } of header.tensors) {
        if (wanted.has(name)) pointers.set(name, kernels.arena.alloc(endBytes - beginBytes))
      }
    },
    onBytes({ name }, offsetBytes, bytes) {
      const ptr = pointers.get(name)
      if (ptr !== undefined) kernels.u8(ptr + offsetBytes, bytes.length).set(bytes)
    },
  })
  for await (const chunk of stream) {
    await digest.update(chunk)
    parser.push(chunk)
  }
  parser.end()
  const got = await digest.hex()
  if (got !== manifest.weights) {
    throw new ModelPackageError(`${WEIGHTS_FILE}: sha256: expected ${manifest.weights}, got ${got}`)
  }
  return pointers
}

function checkHeader({ metadata, tensors }: SafetensorsHeader, manifest: ModelManifest): void {
  const expectedMetadata = { format: 'flava-edge', format_version: String(FORMAT_VERSION), scheme: manifest.scheme }
  for (const [key, expected] of Object.entries(expectedMetadata)) {
    const got = metadata[key]
    if (got !== expected) {
      throw new ModelPackageError(`${WEIGHTS_FILE}: __metadata__.${key}: expected ${expected}, got ${got ?? 'nothing'}`)
    }
  }
  const missing = new Map([...textTensors(manifest), ...imageTensors(manifest)])
  for (const { name, dtype, shape } of tensors) {
    const spec = missing.get(name)
    if (!spec) throw new ModelPackageError(`${WEIGHTS_FILE}: ${name}: not a tensor of this package`)
    const [expected, got] = [describe(spec), describe({ dtype, shape })]
    if (got !== expected) throw new ModelPackageError(`${WEIGHTS_FILE}: ${name}: expected ${expected}, got ${got}`)
    missing.delete(name)
  }
  const [firstMissing] = missing.keys()
  if (firstMissing) throw new ModelPackageError(`${WEIGHTS_FILE}: ${firstMissing}: tensor is missing`)
}

function describe({ dtype, shape }: TensorSpec): string {
  return `${dtype} [${shape.join(', ')}]`
}

function tensorTable(specs: TensorSpecs, pointers: ReadonlyMap<string, number>): TensorTable {
  function ptr(name: string): number {
    const found = pointers.get(name)
    if (found === undefined) throw new ModelPackageError(`${WEIGHTS_FILE}: ${name}: not loaded for this encoder`)
    return found
  }
  return {
    ptr,
    linear(name) {
      const [n = 0, k = 0] = specs.get(`${name}.weight`)?.shape ?? []
      const [dataPtr, scalePtr, biasPtr] = [ptr(`${name}.weight`), ptr(`${name}.weight_scale`), ptr(`${name}.bias`)]
      return { dataPtr, scalePtr, biasPtr, n, k }
    },
    layerNorm(name) {
      return { gammaPtr: ptr(`${name}.weight`), betaPtr: ptr(`${name}.bias`) }
    },
  }
}

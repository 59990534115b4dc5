// Moves the tensors of one encoder from a stream into linear memory, and vouches for them: names, shapes, length, sha256.
// Tensor bytes are kept as they are in the file, so nothing is ever held twice.
import { ModelContentError, ModelPackageError, ModelTooLargeError, ModelUnavailableError } from '../errors.ts'
import type { DotKind, Kernels, PackedWeight } from '../wasm/kernels.ts'
import { storedBytes } from '../wasm/schemes.ts'
import type { EmbeddingScheme, StoredTensor } from '../wasm/schemes.ts'
import type { ModelManifest } from './manifest.ts'
import { readVerified } from './package-file.ts'
import type { CreateDigest } from './package-file.ts'
import { imageLinears, imageTensors, textLinears, textTensors } from './package-layout.ts'
import type { LinearShape, TensorSpecs } from './package-layout.ts'
import { passBytes, passKindOf } from './pass-memory.ts'
import { createSafetensorsParser } from './safetensors.ts'
import type { SafetensorsHeader } from './safetensors.ts'

export interface LayerNormWeights {
  gammaPtr: number
  betaPtr: number
}

export interface EmbeddingWeights {
  scheme: EmbeddingScheme
  tablePtr: number
  scalePtr: number
}

/** What a load cost in memory. */
export interface WeightFootprint {
  /** Linear memory that the tensors take. */
  weightBytes: number
  /** The largest piece of the file that was in JavaScript's hands at once. */
  largestChunkBytes: number
}

/** Verified tensors in linear memory, by Hugging Face name. */
export interface TensorTable {
  readonly footprint: WeightFootprint
  ptr(name: string): number
  linear(name: string): PackedWeight
  wordEmbeddings(name: string): EmbeddingWeights
  layerNorm(name: string): LayerNormWeights
}

export type EncoderName = 'text' | 'image'

/** Whether a load still owns the memory it writes to; asking is a sign of life. See services/load-once.ts. */
export type IsWanted = () => boolean

/** Loads in Node have nobody who would give them up. */
export const alwaysWanted: IsWanted = () => true

/** What vector loads are aligned to; see src/wasm. */
const ALIGN_BYTES = 16
/** Of four bytes in one int32. */
const EIGHTH_BITS = 0x80808080

/**
 * Copy one encoder's tensor file into linear memory, which grows once, for all of them. The memory stays allocated for
 * the life of the kernels; when anything fails it is given back. Loads on one Kernels must not overlap, but for those
 * that are not wanted any more: they leave the memory alone.
 * @param stream all bytes of the encoder's file, in chunks of any size
 * @param isWanted asked before each chunk is written
 * @throws ModelPackageError when a name, dtype, shape, the length or the sha256 is not what the manifest promises, or
 * the tensors and an input of full length do not fit the memory; ModelUnavailableError when the stream breaks off or the load is not wanted any more
 */
export async function loadTensors(
  kernels: Kernels,
  manifest: ModelManifest,
  encoder: EncoderName,
  stream: ReadableStream<Uint8Array>,
  createDigest: CreateDigest,
  isWanted: IsWanted = alwaysWanted,
): Promise<TensorTable> {
  const mark = kernels.arena.mark()
  try {
    await checkIdentity(manifest, createDigest)
    return await copyTensors(kernels, manifest, encoder, stream, createDigest, isWanted)
  } catch (error) {
    if (isWanted()) kernels.arena.release(mark)
    // Does nothing when the stream has been read.
    await stream.cancel().catch(() => undefined)
    throw error
  }
}

/** @throws ModelUnavailableError unless the load still owns its memory */
export function expectWanted(file: string, isWanted: IsWanted): void {
  if (!isWanted()) throw new ModelUnavailableError(`${file}: this load was given up for a later one`)
}

/** Both encoders answer with `weights`: it must be what its definition makes of the two files' hashes. */
export async function checkIdentity({ files, weights }: ModelManifest, createDigest: CreateDigest): Promise<void> {
  const digest = createDigest()
  await digest.update(new TextEncoder().encode(`${files.text.sha256}\n${files.image.sha256}\n`))
  const expected = await digest.hex()
  if (weights === expected) return
  throw new ModelPackageError(
    `config.json: flava_edge.weights: expected ${expected} by the files' hashes, got ${weights}`,
  )
}

async function copyTensors(
  kernels: Kernels,
  manifest: ModelManifest,
  encoder: EncoderName,
  stream: ReadableStream<Uint8Array>,
  createDigest: CreateDigest,
  isWanted: IsWanted,
): Promise<TensorTable> {
  const file = manifest.files[encoder]
  const specs = encoder === 'text' ? textTensors(manifest) : imageTensors(manifest)
  let placed: PlacedTensors = { pointers: new Map(), weightBytes: 0 }
  const parser = createSafetensorsParser(file.name, {
    onHeader(header) {
      checkHeader(file.name, header, specs)
      placed = placeTensors(kernels, file.name, specs, longestPass(manifest, encoder, kernels.dotKind))
    },
    onBytes({ name }, offsetBytes, bytes) {
      const ptr = placed.pointers.get(name)
      if (ptr !== undefined) kernels.u8(ptr + offsetBytes, bytes.length).set(bytes)
    },
  })
  const { largestChunkBytes } = await readVerified(stream, file, createDigest, (chunk) => {
    expectWanted(file.name, isWanted)
    parser.push(chunk)
  })
  parser.end()
  checkSevenBits(kernels, manifest, encoder, placed)
  return tensorTable(manifest, encoder, placed, largestChunkBytes)
}

interface PlacedTensors {
  pointers: ReadonlyMap<string, number>
  weightBytes: number
}

interface PassRoom {
  tokens: number
  bytes: number
}

/** What the longest input takes when it comes alone: no pass is smaller. */
function longestPass(manifest: ModelManifest, encoder: EncoderName, dotKind: DotKind): PassRoom {
  const tokens = encoder === 'text' ? manifest.maxTextLength : manifest.image.numPatches + 1
  return { tokens, bytes: passBytes(passKindOf(manifest, encoder, dotKind), tokens, tokens) }
}

/** One allocation for all, so that memory grows once. */
function placeTensors({ arena }: Kernels, file: string, specs: TensorSpecs, pass: PassRoom): PlacedTensors {
  const sizes = [...specs].map(([name, spec]) => [name, alignUp(storedBytes(spec))] as const)
  const weightBytes = sizes.reduce((sum, [, bytes]) => sum + bytes, 0)
  const maxBytes = arena.freeBytes - pass.bytes
  if (weightBytes > maxBytes) {
    throw new ModelTooLargeError(
      `${file}: expected tensors of at most ${Math.max(maxBytes, 0)} bytes, which is what linear memory has beside an input of ` +
        `${pass.tokens} tokens, got ${weightBytes}`,
    )
  }
  let ptr = arena.alloc(weightBytes, ALIGN_BYTES)
  const pointers = new Map<string, number>()
  for (const [name, bytes] of sizes) {
    pointers.set(name, ptr)
    ptr += bytes
  }
  return { pointers, weightBytes }
}

/** Dot products of bytes take the eighth bit for a sign on some CPUs and for a value on others. */
function checkSevenBits(
  kernels: Kernels,
  manifest: ModelManifest,
  encoder: EncoderName,
  { pointers }: PlacedTensors,
): void {
  for (const [name, { n, k }] of linearsOf(manifest, encoder)) {
    const ptr = pointers.get(`${name}.weight`)
    if (manifest.schemes.linears[name] !== 'w7' || ptr === undefined) continue
    let bits = 0
    const fours = kernels.i32(ptr, (n * k) / 4)
    for (let i = 0; i < fours.length; i += 1) bits |= fours[i] ?? 0
    if ((bits & EIGHTH_BITS) === 0) continue
    const { name: file } = manifest.files[encoder]
    throw new ModelContentError(`${file}: ${name}.weight: expected bytes below 128 for w7, got larger ones`)
  }
}

function linearsOf(manifest: ModelManifest, encoder: EncoderName): ReadonlyMap<string, LinearShape> {
  return encoder === 'text' ? textLinears(manifest) : imageLinears(manifest)
}

function alignUp(bytes: number): number {
  return Math.ceil(bytes / ALIGN_BYTES) * ALIGN_BYTES
}

/** The tensors a file names are those of the package, in any order. @throws ModelPackageError */
export function checkHeader(file: string, { tensors }: SafetensorsHeader, specs: TensorSpecs): void {
  const missing = new Map(specs)
  for (const { name, dtype, shape } of tensors) {
    const spec = missing.get(name)
    if (!spec) throw new ModelPackageError(`${file}: ${name}: not a tensor of this file`)
    const [expected, got] = [describe(spec), describe({ dtype, shape })]
    if (got !== expected) throw new ModelPackageError(`${file}: ${name}: expected ${expected}, got ${got}`)
    missing.delete(name)
  }
  const [firstMissing] = missing.keys()
  if (firstMissing !== undefined) throw new ModelPackageError(`${file}: ${firstMissing}: tensor is missing`)
}

function describe({ dtype, shape }: StoredTensor): string {
  return `${dtype} [${shape.join(', ')}]`
}

function tensorTable(
  manifest: ModelManifest,
  encoder: EncoderName,
  { pointers, weightBytes }: PlacedTensors,
  largestChunkBytes: number,
): TensorTable {
  const { schemes } = manifest
  const shapes = linearsOf(manifest, encoder)
  const isThere = <T>(name: string, value: T | undefined): T => {
    if (value === undefined) throw new ModelPackageError(`${manifest.files[encoder].name}: ${name}: not in this file`)
    return value
  }
  const ptr = (name: string): number => isThere(name, pointers.get(name))
  const pair = (name: string) => ({ weightPtr: ptr(`${name}.weight`), scalePtr: ptr(`${name}.weight_scale`) })
  return {
    footprint: { weightBytes, largestChunkBytes },
    ptr,
    linear(name) {
      const { n, k } = isThere(name, shapes.get(name))
      const scheme = isThere(name, schemes.linears[name])
      const { weightPtr, scalePtr } = pair(name)
      return { scheme, dataPtr: weightPtr, scalePtr, biasPtr: ptr(`${name}.bias`), n, k }
    },
    wordEmbeddings(name) {
      const { weightPtr, scalePtr } = pair(name)
      return { scheme: schemes.wordEmbeddings, tablePtr: weightPtr, scalePtr }
    },
    layerNorm(name) {
      return { gammaPtr: ptr(`${name}.weight`), betaPtr: ptr(`${name}.bias`) }
    },
  }
}

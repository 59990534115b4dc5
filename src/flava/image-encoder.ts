// FLAVA's image encoder: normalized pixels in, vectors out. Reads as the architecture: patch projection, CLS before
// the patches, learned positions (no LayerNorm on embeddings, unlike text), pre-LN blocks, final LayerNorm, projection.
import { ShapeMismatchError } from '../errors.ts'
import { allocQuantizedRows } from '../wasm/quantized-rows.ts'
import type { Kernels, PackedWeight } from '../wasm/kernels.ts'
import { BYTES_PER_F32, packSequences } from './activations.ts'
import type { Activations } from './activations.ts'
import type { ImageConfig } from './config.ts'
import { encoderStack } from './encoder-blocks.ts'
import type { EncoderStack } from './encoder-blocks.ts'
import { runEncoder } from './encoder-output.ts'
import type { EncodedItem, EncoderOutput } from './encoder-output.ts'
import type { ModelManifest } from './manifest.ts'
import type { CreateDigest } from './package-file.ts'
import { PATCH_PROJECTION } from './package-layout.ts'
import { passKindOf } from './pass-memory.ts'
import type { PassKind } from './pass-memory.ts'
import { alwaysWanted, loadTensors } from './weights.ts'
import type { IsWanted, TensorTable, WeightFootprint } from './weights.ts'

export interface FlavaImageEncoder {
  kernels: Kernels
  config: ImageConfig
  pass: PassKind
  footprint: WeightFootprint
  embeddings: ImageEmbeddings
  stack: EncoderStack
}

interface ImageEmbeddings {
  patchProjection: PackedWeight
  clsTokenPtr: number
  positionPtr: number
}

/**
 * Load and verify the image half of a package into linear memory.
 * @param weights all bytes of the manifest's image file
 * @throws as loadTensors
 */
export async function loadImageEncoder(
  kernels: Kernels,
  manifest: ModelManifest,
  weights: ReadableStream<Uint8Array>,
  createDigest: CreateDigest,
  isWanted: IsWanted = alwaysWanted,
): Promise<FlavaImageEncoder> {
  const tensors = await loadTensors(kernels, manifest, 'image', weights, createDigest, isWanted)
  return {
    kernels,
    config: manifest.image,
    pass: passKindOf(manifest, 'image', kernels.dotKind),
    footprint: tensors.footprint,
    embeddings: imageEmbeddings(tensors),
    stack: encoderStack(tensors, 'image_model', 'image_projection', manifest.image),
  }
}

/**
 * Encode pictures of the model's own size.
 * @param pixelValues f32 [count, 3, imageSize, imageSize], normalized by the manifest's mean and std
 * @returns one f32 item per picture, in order; shapes as in EncoderOutput
 * @throws ShapeMismatchError when pixelValues has another length; OutOfMemoryError for too large a batch
 */
export function encodeImage(
  encoder: FlavaImageEncoder,
  pixelValues: Float32Array,
  count: number,
  output: EncoderOutput,
): EncodedItem[] {
  const { kernels, config, stack } = encoder
  const { numChannels, imageSize } = config
  if (pixelValues.length !== count * numChannels * imageSize ** 2) {
    const expected = `[${count}, ${numChannels}, ${imageSize}, ${imageSize}]`
    throw new ShapeMismatchError(`pixelValues: expected ${expected}, got ${pixelValues.length} values`)
  }
  if (count === 0) return []
  const mark = kernels.arena.mark()
  try {
    const activations = embedPatches(encoder, pixelValues, count)
    return runEncoder(kernels, stack, activations, output)
  } finally {
    kernels.arena.release(mark)
  }
}

function imageEmbeddings(tensors: TensorTable): ImageEmbeddings {
  const embeddings = 'image_model.embeddings'
  return {
    patchProjection: tensors.linear(PATCH_PROJECTION),
    clsTokenPtr: tensors.ptr(`${embeddings}.cls_token`),
    positionPtr: tensors.ptr(`${embeddings}.position_embeddings`),
  }
}

/** [CLS, patches...] + positions for each picture, f32 [count * (numPatches + 1), hiddenSize]. */
function embedPatches(encoder: FlavaImageEncoder, pixelValues: Float32Array, count: number): Activations {
  const { kernels, config, embeddings } = encoder
  const { hiddenSize, numPatches } = config
  const rowBytes = hiddenSize * BYTES_PER_F32
  const seqLen = numPatches + 1
  const { spans, numRows } = packSequences(Array.from({ length: count }, () => seqLen))

  const hiddenPtr = kernels.arena.alloc(numRows * rowBytes)
  const mark = kernels.arena.mark()
  try {
    const projectedPtr = projectPatches(encoder, pixelValues, count)
    spans.forEach(({ firstRow }, picture) => {
      const clsPtr = hiddenPtr + firstRow * rowBytes
      const patches = kernels.f32(projectedPtr + picture * numPatches * rowBytes, numPatches * hiddenSize)
      kernels.f32(clsPtr, hiddenSize).set(kernels.f32(embeddings.clsTokenPtr, hiddenSize))
      kernels.f32(clsPtr + rowBytes, numPatches * hiddenSize).set(patches)
      kernels.addF32(clsPtr, embeddings.positionPtr, seqLen * hiddenSize)
    })
  } finally {
    kernels.arena.release(mark)
  }
  return { hiddenPtr, numRows, spans }
}

/** The patch convolution as a Linear: f32 [count * numPatches, hiddenSize] in linear memory, for the caller to release. */
function projectPatches(
  { kernels, config, embeddings }: FlavaImageEncoder,
  pixelValues: Float32Array,
  count: number,
): number {
  const { arena } = kernels
  const { patchProjection } = embeddings
  const { n, k } = patchProjection
  const numRows = count * config.numPatches
  const projectedPtr = arena.alloc(numRows * n * BYTES_PER_F32)
  const patchesPtr = arena.alloc(numRows * k * BYTES_PER_F32)
  const quantized = allocQuantizedRows(arena, numRows, k)
  flattenPatches(pixelValues, count, config, kernels.f32(patchesPtr, numRows * k))
  kernels.quantizeRows(patchesPtr, numRows, k, quantized)
  kernels.gemm(quantized, patchProjection, projectedPtr)
  return projectedPtr
}

/**
 * Cut pictures into patches, row 0 left to right first, each flattened as (channel, dy, dx): the order of a flattened
 * convolution weight.
 * @param pixelValues f32 [count, 3, imageSize, imageSize]
 * @param out f32 [count * numPatches, 3 * patchSize * patchSize]
 */
export function flattenPatches(pixelValues: Float32Array, count: number, config: ImageConfig, out: Float32Array): void {
  const { imageSize, patchSize, numChannels } = config
  const side = imageSize / patchSize
  let written = 0
  for (let picture = 0; picture < count; picture += 1) {
    for (let patchRow = 0; patchRow < side; patchRow += 1) {
      for (let patchColumn = 0; patchColumn < side; patchColumn += 1) {
        for (let channel = 0; channel < numChannels; channel += 1) {
          const plane = (picture * numChannels + channel) * imageSize
          for (let dy = 0; dy < patchSize; dy += 1) {
            const start = (plane + patchRow * patchSize + dy) * imageSize + patchColumn * patchSize
            out.set(pixelValues.subarray(start, start + patchSize), written)
            written += patchSize
          }
        }
      }
    }
  }
}

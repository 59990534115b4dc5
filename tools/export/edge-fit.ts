// Whether an encoder runs inside a Worker: tried out, with linear memory's maximum where the Worker has it and the
// longest input that one call may bring.
import { z } from 'zod'
import { ModelTooLargeError, OutOfMemoryError } from '../../src/errors.ts'
import { encodeImage } from '../../src/flava/image-encoder.ts'
import { encodeText } from '../../src/flava/text-encoder.ts'
import { MAX_MEMORY_BYTES } from '../../src/workers/encoder-memory.ts'
import { loadImageModel, loadTextModel, readManifest } from '../model/load-model.ts'

const MIB = 1024 * 1024
/** Tensors of one encoder; what is left of the memory is for activations. */
export const MAX_WEIGHT_BYTES = 92 * MIB

const encoderFitSchema = z.object({
  /** Size of the tensor file. */
  weightBytes: z.int(),
  /** Linear memory after a full-length input; null when it does not fit. */
  memoryBytes: z.int().nullable(),
})

export const edgeFitSchema = z.object({
  isFitting: z.boolean(),
  maxWeightBytes: z.int(),
  maxMemoryBytes: z.int(),
  text: encoderFitSchema,
  image: encoderFitSchema,
})

type EncoderFit = z.infer<typeof encoderFitSchema>
export type EdgeFit = z.infer<typeof edgeFitSchema>

export async function measureEdgeFit(directory: string): Promise<EdgeFit> {
  const { files } = await readManifest(directory)
  const text = await measureFit(files.text.sizeBytes, () => textMemory(directory))
  const image = await measureFit(files.image.sizeBytes, () => imageMemory(directory))
  const isFitting = text.memoryBytes !== null && image.memoryBytes !== null
  return { isFitting, maxWeightBytes: MAX_WEIGHT_BYTES, maxMemoryBytes: MAX_MEMORY_BYTES, text, image }
}

async function measureFit(weightBytes: number, measure: () => Promise<number>): Promise<EncoderFit> {
  if (weightBytes > MAX_WEIGHT_BYTES) return { weightBytes, memoryBytes: null }
  try {
    return { weightBytes, memoryBytes: await measure() }
  } catch (error) {
    if (error instanceof ModelTooLargeError || error instanceof OutOfMemoryError)
      return { weightBytes, memoryBytes: null }
    throw error
  }
}

async function textMemory(directory: string): Promise<number> {
  const model = await loadTextModel(directory, { maxBytes: MAX_MEMORY_BYTES })
  encodeText(model.text, [{ inputIds: new Int32Array(model.manifest.maxTextLength) }], 'hidden')
  return model.kernels.memory.buffer.byteLength
}

async function imageMemory(directory: string): Promise<number> {
  const model = await loadImageModel(directory, { maxBytes: MAX_MEMORY_BYTES })
  const { numChannels, imageSize } = model.image.config
  encodeImage(model.image, new Float32Array(numChannels * imageSize ** 2), 1, 'hidden')
  return model.kernels.memory.buffer.byteLength
}

// The engine under test: the code that runs in the Workers, from file bytes and text to vectors, here in Node.
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { EncodedItem, EncoderOutput } from '../../src/flava/encoder-output.ts'
import { encodeImage } from '../../src/flava/image-encoder.ts'
import { l2Normalize } from '../../src/flava/l2-normalize.ts'
import { encodeText } from '../../src/flava/text-encoder.ts'
import { DEFAULT_MAX_IMAGE_PIXELS } from '../../src/image/decode-memory.ts'
import { decodeAndResize } from '../../src/image/decode.ts'
import { normalizePixels } from '../../src/image/normalize.ts'
import { createTokenizer, encode } from '../../src/tokenize/tokenizer.ts'
import { loadImageModel, loadTextModel } from '../model/load-model.ts'
import { loadImageDecoders } from './image-decoders.ts'
import { startLongProgress } from './progress.ts'

const TEXTS_PER_BATCH = 64
const IMAGES_PER_BATCH = 16
const LIMITS = { maxPixels: DEFAULT_MAX_IMAGE_PIXELS }

export interface EmbeddingRequest {
  texts: readonly string[]
  /** Paths of image files. */
  images: readonly string[]
}

/** One f32 vector of length 1 per item, in the request's order. */
export interface Embeddings {
  texts: readonly Float32Array[]
  images: readonly Float32Array[]
}

/** @param modelDir a model package; its config.json gives lengths, sizes, mean and std */
export async function embedWithEdge(modelDir: string, { texts, images }: EmbeddingRequest): Promise<Embeddings> {
  const normalize = ({ data }: EncodedItem): Float32Array => l2Normalize(data)
  return {
    texts: (await encodeTextsAtEdge(modelDir, texts, 'projected')).map(normalize),
    images: (await encodeImagesAtEdge(modelDir, images, 'projected')).map(normalize),
  }
}

export async function encodeTextsAtEdge(
  modelDir: string,
  texts: readonly string[],
  output: EncoderOutput,
): Promise<EncodedItem[]> {
  const model = await loadTextModel(modelDir)
  const tokenizer = createTokenizer(JSON.parse(await readFile(join(modelDir, 'tokenizer.json'), 'utf8')))
  return inBatches('texts, edge', texts, TEXTS_PER_BATCH, (batch) => {
    const sequences = batch.map((text) => encode(tokenizer, text, undefined, model.manifest.maxTextLength))
    return encodeText(model.text, sequences, output)
  })
}

/** @param paths of image files */
export async function encodeImagesAtEdge(
  modelDir: string,
  paths: readonly string[],
  output: EncoderOutput,
): Promise<EncodedItem[]> {
  const model = await loadImageModel(modelDir)
  const { size, mean, std } = model.manifest.preprocessing
  const decoders = await loadImageDecoders()
  return inBatches('pictures, edge', paths, IMAGES_PER_BATCH, async (batch) => {
    const rgb = new Uint8Array(batch.length * size * size * 3)
    for (const [index, path] of batch.entries()) {
      const resized = await decodeAndResize(await readFile(path), decoders, LIMITS, size)
      rgb.set(resized.rgb, index * size * size * 3)
    }
    const pixelValues = normalizePixels(rgb, batch.length, size, mean, std)
    return encodeImage(model.image, pixelValues, batch.length, output)
  })
}

async function inBatches<Item>(
  label: string,
  items: readonly Item[],
  batchSize: number,
  encodeBatch: (batch: readonly Item[]) => EncodedItem[] | Promise<EncodedItem[]>,
): Promise<EncodedItem[]> {
  const progress = startLongProgress(label, items.length)
  const encoded: EncodedItem[] = []
  for (let start = 0; start < items.length; start += batchSize) {
    encoded.push(...(await encodeBatch(items.slice(start, start + batchSize))))
    progress.update(encoded.length)
  }
  progress.stop()
  return encoded
}

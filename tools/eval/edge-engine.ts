// The engine under test: the code that runs in the Workers, from file bytes and text to vectors, here in Node.
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { encodeImage } from '../../src/flava/image-encoder.ts'
import { l2Normalize } from '../../src/flava/l2-normalize.ts'
import { encodeText } from '../../src/flava/text-encoder.ts'
import { DEFAULT_MAX_IMAGE_PIXELS } from '../../src/image/decode-memory.ts'
import { decodeAndResize } from '../../src/image/decode.ts'
import { normalizePixels } from '../../src/image/normalize.ts'
import { createTokenizer, encode } from '../../src/tokenize/tokenizer.ts'
import { startLongProgress } from './progress.ts'
import { loadImageModel, loadTextModel, type LoadedImage, type LoadedText } from '../model/load-model.ts'
import type { EmbeddingRequest, Embeddings } from './engine.ts'
import { loadImageDecoders } from './image-decoders.ts'

const TEXTS_PER_BATCH = 64
const IMAGES_PER_BATCH = 16
const LIMITS = { maxPixels: DEFAULT_MAX_IMAGE_PIXELS }

/** @param modelDir a model package; its config.json gives lengths, sizes, mean and std */
export async function embedWithEdge(modelDir: string, request: EmbeddingRequest): Promise<Embeddings> {
  return {
    texts: await embedTexts(await loadTextModel(modelDir), modelDir, request.texts),
    images: await embedImages(await loadImageModel(modelDir), request.images),
  }
}

async function embedTexts(model: LoadedText, modelDir: string, texts: readonly string[]): Promise<Float32Array[]> {
  const tokenizer = createTokenizer(JSON.parse(await readFile(join(modelDir, 'tokenizer.json'), 'utf8')))
  return inBatches('texts, edge', texts, TEXTS_PER_BATCH, (batch) => {
    const sequences = batch.map((text) => encode(tokenizer, text, undefined, model.manifest.maxTextLength))
    return encodeText(model.text, sequences, 'projected').map(({ data }) => l2Normalize(data))
  })
}

async function embedImages(model: LoadedImage, paths: readonly string[]): Promise<Float32Array[]> {
  const { size, mean, std } = model.manifest.preprocessing
  const decoders = await loadImageDecoders()
  return inBatches('pictures, edge', paths, IMAGES_PER_BATCH, async (batch) => {
    const rgb = new Uint8Array(batch.length * size * size * 3)
    for (const [index, path] of batch.entries()) {
      const resized = await decodeAndResize(await readFile(path), decoders, LIMITS, size)
      rgb.set(resized.rgb, index * size * size * 3)
    }
    const pixelValues = normalizePixels(rgb, batch.length, size, mean, std)
    return encodeImage(model.image, pixelValues, batch.length, 'projected').map(({ data }) => l2Normalize(data))
  })
}

async function inBatches<Item>(
  label: string,
  items: readonly Item[],
  batchSize: number,
  embed: (batch: readonly Item[]) => Float32Array[] | Promise<Float32Array[]>,
): Promise<Float32Array[]> {
  const progress = startLongProgress(label, items.length)
  const vectors: Float32Array[] = []
  for (let start = 0; start < items.length; start += batchSize) {
    vectors.push(...(await embed(items.slice(start, start + batchSize))))
    progress.update(vectors.length)
  }
  progress.stop()
  return vectors
}

// A tiny package in a folder of its own, with reference vectors that are its own vectors: measuring it gives cosines of
// one, and whatever a test changes in them shows.
import { mkdtemp, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { encodePictures, encodeTexts } from '../../../tools/export/encode-all.ts'
import type { ParityInputs, ParitySet } from '../../../tools/export/parity-inputs.ts'
import { parityReport } from '../../../tools/export/parity-report.ts'
import type { ParityReport } from '../../../tools/export/parity-report.ts'
import type { EncoderMeasurement } from '../../../tools/export/measure-encoders.ts'
import { loadModel } from '../../../tools/model/load-model.ts'
import type { FileTensor } from '../../../tools/model/read-tensors.ts'
import { tinyPackage } from '../../flava/tiny-package.ts'
import type { TinyPackage } from '../../flava/tiny-package.ts'
import { createRandom } from '../../wasm/random.ts'

const MIB = 1024 * 1024
const TEXTS = 60
const DEV_COUNT = 6
const PICTURES = 24
const LAYER_INPUTS = [0, 5, 9]

/** Writes a package's files and returns the folder. */
export async function writePackage({ files }: TinyPackage): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'flava-package-'))
  for (const [name, bytes] of files) await writeFile(join(directory, name), bytes)
  return directory
}

/** Inputs of a tiny package and what its own relaxed-SIMD build makes of them. */
export async function selfParitySet(directory: string): Promise<ParitySet> {
  const model = await loadModel(directory, { build: 'relaxed-simd' })
  const random = createRandom(7)
  const { size } = model.manifest.preprocessing
  const texts = Array.from({ length: TEXTS }, (_, index) => {
    const inputIds = Array.from({ length: 2 + (index % 8) }, () => Math.floor(random() * 50))
    return { text: `text ${index}`, inputIds, tokenTypeIds: inputIds.map(() => 0) }
  })
  const rgb = Uint8Array.from({ length: PICTURES * size * size * 3 }, () => Math.floor(random() * 256))
  const inputs: ParityInputs = {
    checkpoint: model.manifest.checkpoint,
    versions: { torch: '2', transformers: '5' },
    texts,
    pictures: { procedural: PICTURES - DEV_COUNT, dev: DEV_COUNT, size, sha256: '' },
    detailed: { texts: [], pictures: [] },
    layers: { texts: LAYER_INPUTS, pictures: LAYER_INPUTS },
  }
  const layerTexts = LAYER_INPUTS.map((index) => texts[index]!)
  const pictureBytes = size * size * 3
  const layerPictures = Buffer.concat(
    LAYER_INPUTS.map((index) => rgb.subarray(index * pictureBytes, (index + 1) * pictureBytes)),
  )
  const { text, image, projectionSize } = model.manifest
  const vectors = new Map([
    tensor('text.projected', encodeTexts(model, texts), [TEXTS, projectionSize]),
    tensor('image.projected', encodePictures(model, rgb, PICTURES), [PICTURES, projectionSize]),
    tensor('text.layers', encodeTexts(model, layerTexts, { output: 'layers' }), [
      3,
      text.numLayers + 1,
      text.hiddenSize,
    ]),
    tensor('image.layers', encodePictures(model, layerPictures, LAYER_INPUTS.length, { output: 'layers' }), [
      3,
      image.numLayers + 1,
      image.hiddenSize,
    ]),
    ['pictures', fileTensor('pictures', 'U8', [PICTURES, size, size, 3], rgb)] as const,
  ])
  return { inputs, vectors }
}

/** The report of a tiny package as if `figures` had been measured; by default it passes. */
export function tinyReport(figures: Partial<EncoderMeasurement> = {}): ParityReport {
  const { manifest } = tinyPackage()
  const measurement: EncoderMeasurement = {
    all: { count: 208, mean: 0.99998, p1: 0.99991, min: 0.99987 },
    distinctCount: 204,
    dev: null,
    layers: [{ mean: 1, min: 1 }],
    layerInputs: 3,
    twinCount: 48,
    areBuildsEqual: true,
    ...figures,
  }
  const fit = { weightBytes: MIB, memoryBytes: 2 * MIB }
  return parityReport({
    manifest,
    exported: {
      checkpoint: manifest.checkpoint,
      space: manifest.space,
      weights: manifest.weights,
      variant: manifest.variant,
      rounding: 'compensated',
      tensors: {
        'text_projection.weight': { relativeError: 0.01, outputError: 0.25 },
        'image_projection.weight': { relativeError: 0.125, outputError: null },
      },
    },
    inputs: {
      checkpoint: manifest.checkpoint,
      versions: { torch: '2.13.0', transformers: '5.18.0' },
      texts: [],
      pictures: { procedural: 0, dev: 0, size: 12, sha256: '' },
      detailed: { texts: [], pictures: [] },
      layers: { texts: [], pictures: [] },
    },
    text: measurement,
    image: { ...measurement, twinCount: 16 },
    edge: { isFitting: true, maxWeightBytes: 92 * MIB, maxMemoryBytes: 96 * MIB, text: fit, image: fit },
    retrieval: null,
  })
}

function tensor(name: string, vectors: readonly Float32Array[], shape: number[]): readonly [string, FileTensor] {
  const bytes = Buffer.concat(vectors.map((vector) => Buffer.from(vector.buffer, vector.byteOffset, vector.byteLength)))
  return [name, fileTensor(name, 'F32', shape, bytes)] as const
}

function fileTensor(name: string, dtype: FileTensor['dtype'], shape: number[], bytes: Uint8Array): FileTensor {
  // A copy: floats are read from the start of the buffer.
  return { name, dtype, shape, beginBytes: 0, endBytes: bytes.length, bytes: Uint8Array.from(bytes) }
}

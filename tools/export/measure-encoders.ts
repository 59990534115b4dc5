// One encoder after the other, each in a memory of its own, against the vectors that fp32 PyTorch made: what parity.json
// says about a package's vectors. The relaxed-SIMD build encodes everything, the SIMD128 build a fixed part of it.
import { createHash } from 'node:crypto'
import { startLongProgress } from '../eval/progress.ts'
import { loadImageModel, loadTextModel } from '../model/load-model.ts'
import type { LoadOptions } from '../model/load-model.ts'
import { floatRows, floatValues } from '../model/read-tensors.ts'
import { encodePictures, encodeTexts } from './encode-all.ts'
import type { EncodeOptions } from './encode-all.ts'
import { ParityVectorsError } from './errors.ts'
import type { ParitySet } from './parity-inputs.ts'
import { areBitEqual, cosine, pairwiseCosines, summarizeCosines } from './similarity.ts'
import type { CosineSummary } from './similarity.ts'

/** Inputs that both builds encode: at full geometry all of them would double the minutes. */
const TWIN_COUNT = { text: 48, image: 16 } as const

export interface LayerCosine {
  mean: number
  min: number
}

export interface EncoderMeasurement {
  /** Cosines of projected vectors. */
  all: CosineSummary
  /** Inputs that are not the same as one before them: made-up texts of one token repeat. */
  distinctCount: number
  /** Of those, the inputs out of the data set's dev split. */
  dev: CosineSummary | null
  /** Cosine of token 0's state: after the embeddings, then after each block; empty when the vectors have none. */
  layers: LayerCosine[]
  layerInputs: number
  /** Inputs that both kernel builds encoded, and whether all bits were equal. */
  twinCount: number
  areBuildsEqual: boolean
}

type Encode = (indices: readonly number[], options: EncodeOptions) => Float32Array[]

interface EncoderUnderTest {
  name: 'text' | 'image'
  label: string
  count: number
  /** One key an input, equal for equal ones. */
  keys: readonly string[]
  /** Index of the first input out of the dev split. */
  firstDev: number
  layerInputs: readonly number[]
  load(options: LoadOptions): Promise<Encode>
}

export async function measureText(directory: string, set: ParitySet): Promise<EncoderMeasurement> {
  const { texts, pictures, layers } = set.inputs
  return measure(set, {
    name: 'text',
    label: 'texts, parity',
    count: texts.length,
    keys: texts.map(({ inputIds, tokenTypeIds }) => `${inputIds.join()} ${tokenTypeIds.join()}`),
    // As many captions as pictures come out of the dev split, at the end of both lists.
    firstDev: texts.length - pictures.dev,
    layerInputs: layers.texts,
    async load(options) {
      const model = await loadTextModel(directory, options)
      return (indices, encodeOptions) => encodeTexts(model, pick(texts, indices), encodeOptions)
    },
  })
}

export async function measureImage(directory: string, set: ParitySet): Promise<EncoderMeasurement> {
  const { pictures, layers } = set.inputs
  const rgb = set.vectors.get('pictures')?.bytes
  if (!rgb) throw new ParityVectorsError('pictures: missing from the parity vectors; make them with --keep-pictures')
  const pictureBytes = 3 * pictures.size ** 2
  return measure(set, {
    name: 'image',
    label: 'pictures, parity',
    count: pictures.procedural + pictures.dev,
    keys: Array.from({ length: pictures.procedural + pictures.dev }, (_, picture) =>
      createHash('sha256')
        .update(rgb.subarray(picture * pictureBytes, (picture + 1) * pictureBytes))
        .digest('hex'),
    ),
    firstDev: pictures.procedural,
    layerInputs: layers.pictures,
    async load(options) {
      const model = await loadImageModel(directory, options)
      return (indices, encodeOptions) => {
        const chosen = new Uint8Array(indices.length * pictureBytes)
        indices.forEach((picture, at) => {
          chosen.set(rgb.subarray(picture * pictureBytes, (picture + 1) * pictureBytes), at * pictureBytes)
        })
        return encodePictures(model, chosen, indices.length, encodeOptions)
      }
    },
  })
}

async function measure(set: ParitySet, encoder: EncoderUnderTest): Promise<EncoderMeasurement> {
  const { name, count, keys, firstDev, layerInputs } = encoder
  const encode = await encoder.load({ build: 'relaxed-simd' })
  const progress = startLongProgress(encoder.label, count)
  const ours = encode(evenly(count, count), { onProgress: progress.update })
  progress.stop()
  const states = encode(layerInputs, { output: 'layers' })

  const twins = evenly(count, TWIN_COUNT[name])
  const encodeTwin = await encoder.load({ build: 'simd128' })
  const cosines = pairwiseCosines(ours, floatRows(set.vectors, `${name}.projected`))
  const dev = cosines.slice(firstDev)
  return {
    all: summarizeCosines(cosines),
    distinctCount: new Set(keys).size,
    dev: dev.length > 0 ? summarizeCosines(dev) : null,
    layers: layerCosines(set, name, states),
    layerInputs: states.length,
    twinCount: twins.length,
    areBuildsEqual: areBitEqual(pick(ours, twins), encodeTwin(twins, {})),
  }
}

function layerCosines(set: ParitySet, name: 'text' | 'image', states: readonly Float32Array[]): LayerCosine[] {
  if (states.length === 0) return []
  const tensor = `${name}.layers`
  const [inputs = 0, numStates = 0, hiddenSize = 0] = set.vectors.get(tensor)?.shape ?? []
  const reference = floatValues(set.vectors, tensor)
  if (inputs !== states.length || states.some(({ length }) => length !== numStates * hiddenSize)) {
    const got = `${states.length} of ${states[0]?.length} values`
    throw new ParityVectorsError(
      `${tensor}: expected ${inputs} inputs of ${numStates} x ${hiddenSize} states, got ${got}`,
    )
  }
  return Array.from({ length: numStates }, (_, layer) => {
    const cosines = states.map((state, input) => {
      const from = (input * numStates + layer) * hiddenSize
      return cosine(
        state.subarray(layer * hiddenSize, (layer + 1) * hiddenSize),
        reference.subarray(from, from + hiddenSize),
      )
    })
    const { mean, min } = summarizeCosines(cosines)
    return { mean, min }
  })
}

/** `wanted` indices spread over 0..count-1, or all of them. */
function evenly(count: number, wanted: number): number[] {
  const length = Math.min(count, wanted)
  return Array.from({ length }, (_, index) => Math.floor((index * count) / length))
}

function pick<T>(items: readonly T[], indices: readonly number[]): T[] {
  return indices.flatMap((index) => items[index] ?? [])
}

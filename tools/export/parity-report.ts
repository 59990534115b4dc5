// parity.json: how far a quantized package is from fp32 PyTorch, measured through the engine that runs it at the edge.
import { z } from 'zod'
import { loadModel } from '../model/load-model.ts'
import { floatRows } from '../model/read-tensors.ts'
import { encodePictures, encodeTexts } from './encode-all.ts'
import type { ParityInputs, ParitySet } from './parity-inputs.ts'
import { pairwiseCosines, summarizeCosines } from './similarity.ts'
import type { CosineSummary } from './similarity.ts'

/** Packages share their checkpoint's vector space from here on; see docs/architecture.md, decision 9. */
export const MIN_COSINE = 0.9995

/** What flava_gpu.export reports about the tensors it wrote. */
export const exportReportSchema = z.object({
  checkpoint: z.string(),
  space: z.string(),
  weights: z.string(),
  rounding: z.enum(['nearest', 'compensated']),
  tensors: z.record(z.string(), z.number()),
  bytes: z.record(z.string(), z.number()),
})

export type ExportReport = z.infer<typeof exportReportSchema>

export interface ParityReport {
  gate: { minCosine: number; isPassed: boolean }
  checkpoint: string
  space: string
  weights: string
  scheme: string
  rounding: ExportReport['rounding']
  reference: string
  /** Whether both kernel builds gave the same bits for every input. */
  areBuildsBitEqual: boolean
  /** Cosine of projected vectors, by kind of input. */
  text: CosineSummary
  image: CosineSummary
  /** The same for the part of the inputs that comes from the data set's dev split, when there was one. */
  devImage: CosineSummary | null
  /** Relative error (Frobenius) of each quantized tensor. */
  tensorErrors: Record<string, number>
  bytes: Record<string, number>
}

/** Encode all inputs with both kernel builds and compare with PyTorch. */
export async function measureParity(
  packageDirectory: string,
  { inputs, vectors }: ParitySet,
  exported: ExportReport,
): Promise<ParityReport> {
  const rgb = vectors.get('pictures')?.bytes
  if (!rgb) throw new Error('pictures: missing from the parity vectors; make them with --keep-pictures')
  const count = inputs.pictures.procedural + inputs.pictures.dev
  const model = await loadModel(packageDirectory, { build: 'relaxed-simd' })
  const twin = await loadModel(packageDirectory, { build: 'simd128' })
  const texts = encodeTexts(model, inputs.texts)
  const pictures = encodePictures(model, rgb, count)
  const areBuildsBitEqual =
    areBitEqual(texts, encodeTexts(twin, inputs.texts)) && areBitEqual(pictures, encodePictures(twin, rgb, count))

  const text = summarizeCosines(pairwiseCosines(texts, floatRows(vectors, 'text.projected')))
  const imageCosines = pairwiseCosines(pictures, floatRows(vectors, 'image.projected'))
  const image = summarizeCosines(imageCosines)
  const dev = imageCosines.slice(inputs.pictures.procedural)
  return {
    gate: { minCosine: MIN_COSINE, isPassed: areBuildsBitEqual && Math.min(text.min, image.min) >= MIN_COSINE },
    checkpoint: exported.checkpoint,
    space: exported.space,
    weights: exported.weights,
    scheme: model.manifest.scheme,
    rounding: exported.rounding,
    reference: referenceName(inputs),
    areBuildsBitEqual,
    text,
    image,
    devImage: dev.length > 0 ? summarizeCosines(dev) : null,
    tensorErrors: exported.tensors,
    bytes: exported.bytes,
  }
}

function referenceName({ versions }: ParityInputs): string {
  return `transformers ${versions.transformers} FlavaModel, float32, PyTorch ${versions.torch}`
}

function areBitEqual(ours: readonly Float32Array[], theirs: readonly Float32Array[]): boolean {
  return ours.every((vector, index) => {
    const bits = new Uint32Array(vector.buffer, vector.byteOffset, vector.length)
    const other = theirs[index]
    if (!other) return false
    const otherBits = new Uint32Array(other.buffer, other.byteOffset, other.length)
    return bits.length === otherBits.length && bits.every((value, at) => value === otherBits[at])
  })
}

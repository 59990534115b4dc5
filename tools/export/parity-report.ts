// parity.json: how far a quantized package is from fp32 PyTorch, measured through the engine that runs it at the edge.
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { z } from 'zod'
import type { ModelManifest } from '../../src/flava/manifest.ts'
import type { EncoderName } from '../../src/flava/weights.ts'
import { edgeFitSchema } from './edge-fit.ts'
import type { EdgeFit } from './edge-fit.ts'
import type { ExportReport } from './export-report.ts'
import { checkGates, gateSchema } from './gates.ts'
import type { EncoderMeasurement } from './measure-encoders.ts'
import { encoderMakeup, PARTS, schemeOfTensor } from './package-parts.ts'
import type { ParityInputs } from './parity-inputs.ts'
import { retrievalSchema } from './retrieval-parity.ts'
import type { RetrievalParity } from './retrieval-parity.ts'
import { cosineSummarySchema } from './similarity.ts'

export const PARITY_FILE = 'parity.json'
const FORMAT_VERSION = 2

const encoderSchema = z.object({
  /** Cosines of projected vectors, and of those the inputs out of the data set's dev split. */
  cosine: cosineSummarySchema,
  devCosine: cosineSummarySchema.nullable(),
  /** Token 0's state after the embeddings, then after each block, of `layerInputs` inputs. */
  layerCosines: z.array(z.object({ mean: z.number(), min: z.number() })),
  layerInputs: z.int(),
  /** Linears with their scales. */
  bitsPerWeight: z.number(),
  /** Tensors by part and scheme. */
  schemes: z.partialRecord(z.enum(PARTS), z.record(z.string(), z.int())),
  bytes: z.record(z.enum(PARTS), z.int()),
  /** Of the tensor file, header included. */
  totalBytes: z.int(),
})

export const parityReportSchema = z.object({
  formatVersion: z.literal(FORMAT_VERSION),
  variant: z.string(),
  checkpoint: z.string(),
  space: z.string(),
  weights: z.string(),
  rounding: z.string(),
  reference: z.string(),
  isPassed: z.boolean(),
  gates: z.array(gateSchema),
  text: encoderSchema,
  image: encoderSchema,
  /** Both kernel builds on these many inputs, spread evenly over all. */
  builds: z.object({ areEqual: z.boolean(), texts: z.int(), pictures: z.int() }),
  edge: edgeFitSchema,
  retrieval: retrievalSchema.nullable(),
  /** Frobenius error of the weights, and error of the outputs on calibration inputs; both relative. */
  tensors: z.record(
    z.string(),
    z.object({ scheme: z.string(), relativeError: z.number(), outputError: z.number().nullable() }),
  ),
})

export type ParityReport = z.infer<typeof parityReportSchema>

export interface ParityFacts {
  manifest: ModelManifest
  exported: ExportReport
  inputs: ParityInputs
  text: EncoderMeasurement
  image: EncoderMeasurement
  edge: EdgeFit
  retrieval: RetrievalParity | null
}

export function parityReport({ manifest, exported, inputs, ...measured }: ParityFacts): ParityReport {
  const { text, image, edge, retrieval } = measured
  const { variant, checkpoint, space, weights } = manifest
  const gates = checkGates({ variant, text, image, retrievalCosts: retrieval?.dev?.costs ?? [] })
  return {
    formatVersion: FORMAT_VERSION,
    variant,
    checkpoint,
    space,
    weights,
    rounding: exported.rounding,
    reference: `transformers ${inputs.versions.transformers} FlavaModel, float32, PyTorch ${inputs.versions.torch}`,
    isPassed: gates.every(({ isPassed }) => isPassed),
    gates,
    text: encoderReport(manifest, 'text', text),
    image: encoderReport(manifest, 'image', image),
    builds: {
      areEqual: text.areBuildsEqual && image.areBuildsEqual,
      texts: text.twinCount,
      pictures: image.twinCount,
    },
    edge,
    retrieval,
    tensors: Object.fromEntries(
      Object.entries(exported.tensors).map(([name, errors]) => [
        name,
        { scheme: schemeOfTensor(manifest, name) ?? 'unknown', ...errors },
      ]),
    ),
  }
}

/** @throws ZodError when the file is of another format */
export async function readParityReport(directory: string): Promise<ParityReport> {
  return parityReportSchema.parse(JSON.parse(await readFile(join(directory, PARITY_FILE), 'utf8')))
}

function encoderReport(manifest: ModelManifest, encoder: EncoderName, measured: EncoderMeasurement) {
  const { bitsPerWeight, schemes, bytes } = encoderMakeup(manifest, encoder)
  return {
    cosine: measured.all,
    devCosine: measured.dev,
    layerCosines: measured.layers,
    layerInputs: measured.layerInputs,
    bitsPerWeight: Math.round(bitsPerWeight * 1e4) / 1e4,
    schemes,
    bytes,
    totalBytes: manifest.files[encoder].sizeBytes,
  }
}

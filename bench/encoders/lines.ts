// The benches' JSON lines: one object a line, told apart by `bench`. A file of them is what reports and pictures are made from.
import { z } from 'zod'

const ms = z.number().nonnegative()
const shape = z.string().regex(/^(text|image)[1-9]\d*$/)
const rounds = z.int().positive()
const work = z.enum(['hidden', 'projected'])

const timing = {
  engine: z.enum(['flava-edge', 'onnxruntime-web', 'onnxruntime-node']),
  variant: z.string(),
  runtime: z.enum(['node', 'workerd']),
  condition: z.enum(['guard-pages', 'bounds-checks']),
  shape,
  medianMs: ms,
  /** Not of workerd: a time there is the difference of two requests, and the least of differences is noise. */
  minMs: ms.optional(),
  rounds,
}

const lineSchema = z.discriminatedUnion('bench', [
  /** Where and when a run was made; stands before its lines. */
  z.object({
    bench: z.literal('machine'),
    cpu: z.string(),
    core: z.string(),
    node: z.string(),
    v8: z.string(),
    versions: z.record(z.string(), z.string()),
    date: z.string(),
    commit: z.string(),
    geometry: z.string(),
    command: z.string(),
  }),
  /** All tokens after the last LayerNorm: equal work. */
  z.object({ bench: z.literal('encoders'), ...timing }),
  /** The same with the CPU's fused byte dot product kept from V8: an older CPU. */
  z.object({ bench: z.literal('encoders-no-vnni'), ...timing }),
  /** The retrieval vector alone, as the service computes it. */
  z.object({ bench: z.literal('encoder-service'), ...timing }),
  /** Median of their time by ours, round by round. */
  z.object({
    bench: z.literal('encoder-ratios'),
    condition: z.string(),
    shape,
    work,
    variant: z.string(),
    against: z.string(),
    ratio: z.number(),
    rounds,
  }),
  /** Median of ours in workerd by ours in Node with bounds checks, round by round. */
  z.object({ bench: z.literal('workerd-ratios'), shape, work, variant: z.string(), ratio: z.number(), rounds }),
  /** What each output had to do with fp32's before anything was timed. */
  z.object({ bench: z.literal('encoder-checks'), contestant: z.string(), shape, cosine: z.number() }),
  z.object({ bench: z.literal('encoder-work'), shape, macs: z.number().positive() }),
  z.object({ bench: z.literal('dot-kind'), condition: z.string(), dotKind: z.string() }),
  z.object({
    bench: z.literal('instruction-peak'),
    condition: z.string(),
    idiom: z.string(),
    gmacs: z.number(),
    bestGmacs: z.number(),
  }),
  z.object({
    bench: z.literal('stages'),
    variant: z.string(),
    condition: z.string(),
    shape,
    stage: z.string(),
    medianMs: ms,
    rounds,
  }),
  z.object({ bench: z.literal('tokens'), variant: z.string(), tokens: z.int().positive(), medianMs: ms, rounds }),
  z.object({
    bench: z.literal('batches'),
    variant: z.string(),
    batch: z.int().positive(),
    tokens: z.int().positive(),
    medianMs: ms,
    textsPerSecond: z.number(),
    rounds,
  }),
  z.object({
    bench: z.literal('cold'),
    variant: z.string(),
    input: z.enum(['text', 'image']),
    /** Where the Workers found the package. */
    source: z.enum(['assets', 'r2']),
    /** Fresh starts that the figures are medians of. */
    starts: z.int().positive(),
    /** From the first request to its answer, the isolate not yet there. */
    firstAnswerMs: ms,
    loadMs: ms.optional(),
    warmUpMs: ms.optional(),
    warmMs: ms,
  }),
  z.object({
    bench: z.literal('embedded'),
    item: z.enum(['gateway', 'text', 'image']),
    shape: z.string(),
    medianMs: ms,
    p10Ms: ms,
    p90Ms: ms,
    /** Median less the gateway's; decoding, tokenizing and RPC are inside. */
    aboveGatewayMs: ms,
    rounds,
  }),
])

export type BenchLine = z.infer<typeof lineSchema>
export type LineOf<Name extends BenchLine['bench']> = Extract<BenchLine, { bench: Name }>
const benchNames = z.object({ bench: z.string() })
const KNOWN = new Set<string>(lineSchema.options.map((option) => option.shape.bench.value))

/** The lines of this file's benches; others' (memory, kernels) and blank ones are passed over. */
export function parseLines(text: string): BenchLine[] {
  return text
    .split('\n')
    .filter((line) => line.startsWith('{'))
    .map((line): unknown => JSON.parse(line))
    .filter((value) => KNOWN.has(benchNames.parse(value).bench))
    .map((value) => lineSchema.parse(value))
}

export function linesOf<Name extends BenchLine['bench']>(lines: readonly BenchLine[], name: Name): LineOf<Name>[] {
  return lines.filter((line): line is LineOf<Name> => line.bench === name)
}

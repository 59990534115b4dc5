// `npm run bench -- embedded`: warm latency of one text (16 tokens) and one picture for the embedded model, in workerd, through the
// gateway over HTTP, client and Workers on one core. The gateway's own share is measured with /livez beside it. Vectors are compared
// with the engine in Node before anything is timed.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import sharp from 'sharp'
import { z } from 'zod'
import type { ModelManifest } from '../src/flava/manifest.ts'
import { createTokenizer, encode } from '../src/tokenize/tokenizer.ts'
import { startWorkers } from '../test/harness.ts'
import { embedWithEdge } from '../tools/eval/edge-engine.ts'
import { readManifest } from '../tools/model/load-model.ts'
import type { BenchLine } from './encoders/lines.ts'
import { machineLine } from './encoders/machine.ts'
import { embeddedTable } from './encoders/report-profile.ts'
import { machineText } from './encoders/report-tables.ts'
import { toThreeDecimals } from './encoders/statistics.ts'
import { runOnOneCore } from './encoders/one-core.ts'

const MODEL_DIR = 'models/flava-emoji'
const TEXT_TOKENS = 16
const DEFAULT_ROUNDS = 31
const MIN_ROUNDS = 15
/** V8 compiles hot WASM a second time in the background; latency is flat well before this many requests. */
const WARM_UP_ROUNDS = 20
/** Worker and Node run the same kernels; JSON carries f32 exactly. */
const MAX_DIFFERENCE = 1e-6

interface Probe {
  name: 'gateway' | 'text' | 'image'
  shape: string
  send: () => Promise<Response>
}

interface Timing {
  probe: Probe
  medianMs: number
  p10Ms: number
  p90Ms: number
}

const embeddingsSchema = z.object({
  data: z.array(z.object({ embedding: z.array(z.number()) })).length(1),
  usage: z.object({ prompt_tokens: z.int() }),
})

const flagsSchema = z.strictObject({
  json: z.boolean().default(false),
  rounds: z.coerce.number().int().min(MIN_ROUNDS).default(DEFAULT_ROUNDS),
})

const flags = flagsSchema.parse({
  ...parseArgs({ options: { json: { type: 'boolean' }, rounds: { type: 'string' } } }).values,
})
if (!(await runOnOneCore())) await benchEmbedded()

async function benchEmbedded(): Promise<void> {
  const manifest = await readManifest(MODEL_DIR)
  const folder = mkdtempSync(join(tmpdir(), 'flava-bench-'))
  const workers = await startWorkers()
  try {
    const text = makeText()
    const imagePath = join(folder, 'picture.png')
    writeFileSync(imagePath, await makePicture(manifest.image.imageSize))
    const probes = makeProbes(workers.url, manifest, text, readFileSync(imagePath))
    await checkVectors(probes, manifest, text, imagePath)
    report(await time(probes), manifest)
  } finally {
    await workers.stop()
    rmSync(folder, { recursive: true })
  }
}

function makeProbes(url: URL, manifest: ModelManifest, text: string, image: Uint8Array<ArrayBuffer>): Probe[] {
  const embeddings = new URL('/v1/embeddings', url)
  const json = JSON.stringify({ model: 'flava-emoji', input: text })
  const post = (type: string, body: BodyInit) =>
    fetch(embeddings, { method: 'POST', headers: { 'content-type': type }, body })
  const { imageSize, numPatches } = manifest.image
  return [
    { name: 'gateway', shape: 'GET /livez', send: () => fetch(new URL('/livez', url)) },
    {
      name: 'text',
      shape: `${TEXT_TOKENS} tokens`,
      send: () => post('application/json', json),
    },
    {
      name: 'image',
      shape: `${imageSize} px PNG, ${numPatches + 1} tokens`,
      send: () => post('image/png', image),
    },
  ]
}

/** Throws when a Worker's vector is not what the same package gives in Node, or the inputs are not of the size announced. */
async function checkVectors(probes: Probe[], manifest: ModelManifest, text: string, imagePath: string): Promise<void> {
  const expected = await embedWithEdge(MODEL_DIR, { texts: [text], images: [imagePath] })
  const cases = {
    text: [expected.texts[0], TEXT_TOKENS],
    image: [expected.images[0], manifest.image.numPatches + 1],
  } as const
  for (const { name, send } of probes) {
    const response = await send()
    if (!response.ok) throw new Error(`${name}: expected 200, got ${response.status} ${await response.text()}`)
    if (name === 'gateway') continue
    const [vector, tokens] = cases[name]
    const { data, usage } = embeddingsSchema.parse(await response.json())
    const embedding = data[0]?.embedding ?? []
    const difference = Math.max(...embedding.map((value, index) => Math.abs(value - (vector?.[index] ?? NaN))))
    if (embedding.length !== vector?.length || !(difference <= MAX_DIFFERENCE) || usage.prompt_tokens !== tokens) {
      throw new Error(`${name}: ${usage.prompt_tokens} tokens and a vector off by ${difference}: nothing was timed`)
    }
  }
}

/** Probes take turns within a round, so that a slow moment of the machine meets all of them. */
async function time(probes: readonly Probe[]): Promise<Timing[]> {
  const elapsedMs = probes.map((): number[] => [])
  for (let round = 0; round < WARM_UP_ROUNDS + flags.rounds; round++) {
    for (const [index, { name, send }] of probes.entries()) {
      const startedMs = performance.now()
      const response = await send()
      await response.arrayBuffer()
      const tookMs = performance.now() - startedMs
      if (!response.ok) throw new Error(`${name}: expected 200, got ${response.status}`)
      if (round >= WARM_UP_ROUNDS) elapsedMs[index]?.push(tookMs)
    }
  }
  return probes.map((probe, index) => {
    const sorted = (elapsedMs[index] ?? []).toSorted((a, b) => a - b)
    return { probe, medianMs: quantile(sorted, 0.5), p10Ms: quantile(sorted, 0.1), p90Ms: quantile(sorted, 0.9) }
  })
}

function report(timings: readonly Timing[], { text }: ModelManifest): void {
  const gatewayMs = timings.find(({ probe }) => probe.name === 'gateway')?.medianMs ?? 0
  const lines: BenchLine[] = [
    machineLine(`${text.hiddenSize} x ${text.numLayers}, ${text.vocabSize} words`),
    ...timings.map(({ probe, medianMs, p10Ms, p90Ms }) => ({
      bench: 'embedded' as const,
      item: probe.name,
      shape: probe.shape,
      medianMs: toThreeDecimals(medianMs),
      p10Ms: toThreeDecimals(p10Ms),
      p90Ms: toThreeDecimals(p90Ms),
      aboveGatewayMs: toThreeDecimals(probe.name === 'gateway' ? 0 : Math.max(0, medianMs - gatewayMs)),
      rounds: flags.rounds,
    })),
  ]
  if (flags.json) for (const line of lines) console.log(JSON.stringify(line))
  else console.log([machineText(lines), embeddedTable(lines)].join('\n\n'))
}

/** Whole words of the vocabulary until the text has exactly TEXT_TOKENS tokens, [CLS] and [SEP] included. */
function makeText(): string {
  const vocabularySchema = z.object({ model: z.object({ vocab: z.record(z.string(), z.int()) }) })
  const tokenizerJson: unknown = JSON.parse(readFileSync(join(MODEL_DIR, 'tokenizer.json'), 'utf8'))
  const words = Object.keys(vocabularySchema.parse(tokenizerJson).model.vocab).filter((word) =>
    /^[a-z]{4,}$/.test(word),
  )
  const text = words.slice(0, TEXT_TOKENS - 2).join(' ')
  const { tokenCount } = encode(createTokenizer(tokenizerJson), text, undefined, TEXT_TOKENS)
  if (tokenCount !== TEXT_TOKENS) throw new Error(`text: expected ${TEXT_TOKENS} tokens, got ${tokenCount}`)
  return text
}

/** A disc on a gradient: PNG of `side` × `side`, so that the resize has nothing to do and decoding is a real one. */
async function makePicture(side: number): Promise<Uint8Array> {
  const data = Uint8Array.from({ length: side * side * 3 }, (_, index) => {
    const pixel = Math.floor(index / 3)
    const [x, y] = [pixel % side, Math.floor(pixel / side)]
    const isInside = Math.hypot(x - side / 2, y - side / 2) < side / 3
    return isInside ? [220, 60, 40][index % 3]! : Math.round((255 * (x + y)) / (2 * side))
  })
  return sharp(data, { raw: { width: side, height: side, channels: 3 } })
    .png()
    .toBuffer()
}

function quantile(sorted: readonly number[], share: number): number {
  return sorted[Math.round(share * (sorted.length - 1))] ?? Number.NaN
}

// `npm run bench -- encoders`: warm latency of one text (16 tokens) and one picture for the embedded model, in workerd, through the
// gateway over HTTP, client and Workers on one core. The gateway's own share is measured with /livez beside it. Vectors are compared
// with the engine in Node before anything is timed.
import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { cpus, tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import sharp from 'sharp'
import { z } from 'zod'
import type { ModelManifest } from '../src/flava/manifest.ts'
import { imageMacs, sequenceMacs } from '../src/services/cost.ts'
import { createTokenizer, encode } from '../src/tokenize/tokenizer.ts'
import { startWorkers } from '../test/harness.ts'
import { embedWithEdge } from '../tools/eval/edge-engine.ts'
import { runForeground } from '../tools/foreground.mjs'
import { readManifest } from '../tools/model/load-model.ts'

const MODEL_DIR = 'models/flava-emoji'
const TEXT_TOKENS = 16
const DEFAULT_ROUNDS = 31
const MIN_ROUNDS = 15
/** V8 compiles hot WASM a second time in the background; latency is flat well before this many requests. */
const WARM_UP_ROUNDS = 20
/** Worker and Node run the same kernels; JSON carries f32 exactly. */
const MAX_DIFFERENCE = 1e-6
const PINNED_CORE = '0'
const PIN_MARK = 'FLAVA_BENCH_CORE'

interface Probe {
  name: 'gateway' | 'text' | 'image'
  shape: string
  /** Multiply-accumulates of the encoder pass; 0 without one. */
  macs: number
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
if (process.env[PIN_MARK] === undefined && canPin()) {
  const args = ['-c', PINNED_CORE, process.execPath, ...process.argv.slice(1)]
  await runForeground('taskset', args, { cwd: process.cwd(), env: { ...process.env, [PIN_MARK]: PINNED_CORE } })
} else {
  await benchEncoders()
}

async function benchEncoders(): Promise<void> {
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
    { name: 'gateway', shape: 'GET /livez', macs: 0, send: () => fetch(new URL('/livez', url)) },
    {
      name: 'text',
      shape: `${TEXT_TOKENS} tokens`,
      macs: sequenceMacs(manifest.text, TEXT_TOKENS),
      send: () => post('application/json', json),
    },
    {
      name: 'image',
      shape: `${imageSize} px PNG, ${numPatches + 1} tokens`,
      macs: imageMacs(manifest),
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

function report(timings: readonly Timing[], manifest: ModelManifest): void {
  const gatewayMs = timings.find(({ probe }) => probe.name === 'gateway')?.medianMs ?? 0
  const machine = {
    cpu: cpus()[0]?.model.trim() ?? 'unknown',
    core: process.env[PIN_MARK] ?? 'any',
    node: process.version,
    workerd: readVersion('workerd'),
    date: new Date().toISOString(),
  }
  const rows = timings.map(({ probe, medianMs, p10Ms, p90Ms }) => {
    const encoderMs = probe.macs === 0 ? 0 : medianMs - gatewayMs
    return {
      bench: 'encoders',
      item: probe.name,
      shape: probe.shape,
      median_ms: toThreeDecimals(medianMs),
      p10_ms: toThreeDecimals(p10Ms),
      p90_ms: toThreeDecimals(p90Ms),
      /** Median less the gateway's; decoding, tokenizing and RPC are inside. */
      above_gateway_ms: toThreeDecimals(encoderMs),
      gops: probe.macs === 0 ? 0 : toThreeDecimals((2 * probe.macs) / (encoderMs * 1e6)),
      rounds: flags.rounds,
    }
  })
  if (flags.json) {
    for (const row of rows) console.log(JSON.stringify({ ...row, weights: manifest.weights, ...machine }))
    return
  }
  console.table(rows)
  console.log(`weights ${manifest.weights.slice(0, 16)}…  ${machine.cpu}, core ${machine.core}`)
  console.log(`Node ${machine.node}, workerd ${machine.workerd}, ${machine.date}`)
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

function canPin(): boolean {
  return process.platform === 'linux' && spawnSync('taskset', ['-c', PINNED_CORE, 'true']).status === 0
}

function readVersion(name: string): string {
  const path = createRequire(import.meta.url).resolve(`${name}/package.json`)
  return z.object({ version: z.string() }).parse(JSON.parse(readFileSync(path, 'utf8'))).version
}

function quantile(sorted: readonly number[], share: number): number {
  return sorted[Math.round(share * (sorted.length - 1))] ?? Number.NaN
}

function toThreeDecimals(value: number): number {
  return Math.round(value * 1000) / 1000
}

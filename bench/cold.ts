// `npm run bench -- cold`: from the first request at a Worker that is not there yet to its answer, one text and one picture,
// through the gateway in local workerd; and a warm answer beside it. The package comes from where it would in production,
// static assets or R2, here on the local disk: the network of a real location is not in it. How much of it is loading and
// warming up is what /readyz tells.
//   --json, --package default=<folder>, --variants default,small, --starts 3
import { readFile } from 'node:fs/promises'
import { parseArgs } from 'node:util'
import sharp from 'sharp'
import { z } from 'zod'
import { ReadinessSchema } from '../src/handlers/health.ts'
import { contentKey } from '../src/platform/r2-package.ts'
import { readManifest } from '../tools/model/load-model.ts'
import { checkPackage, type CheckedPackage } from '../tools/model/package-check.ts'
import { DEFAULT_BUCKET, homeOf } from '../tools/model/worker-settings.ts'
import { startWorkers } from '../test/harness.ts'
import type { RunningWorkers } from '../test/harness.ts'
import { makeInput, makeTokens } from './encoders/inputs.ts'
import type { BenchLine } from './encoders/lines.ts'
import { machineLine } from './encoders/machine.ts'
import type { PackageChoice } from './encoders/ours.ts'
import { choosePackages, parsePackageFlag } from './encoders/packages.ts'
import { coldTable } from './encoders/report-profile.ts'
import { machineText } from './encoders/report-tables.ts'
import { median, toThreeDecimals } from './encoders/statistics.ts'
import { runOnOneCore } from './encoders/one-core.ts'

const WARM_REQUESTS = 7
const TEXT_TOKENS = 16
const list = z.string().transform((value) => value.split(','))

const flagsSchema = z.strictObject({
  json: z.boolean().default(false),
  variants: list.default(['default', 'small']),
  package: z.array(z.string()).default([]),
  starts: z.coerce.number().int().positive().default(3),
})
const options = {
  json: { type: 'boolean' },
  variants: { type: 'string' },
  package: { type: 'string', multiple: true },
  starts: { type: 'string' },
} as const

type Input = 'text' | 'image'
type Send = (workers: RunningWorkers) => Promise<number>

const flags = flagsSchema.parse({ ...parseArgs({ options }).values })
const lines: BenchLine[] = []
if (!(await runOnOneCore())) {
  await benchCold()
  if (!flags.json) console.log([machineText(lines), coldTable(lines)].join('\n\n'))
}

async function benchCold(): Promise<void> {
  const packages = await choosePackages(flags.package.map(parsePackageFlag), flags.variants)
  const { text } = await readManifest(packages[0]?.directory ?? '')
  take(machineLine(`${text.hiddenSize} x ${text.numLayers}, ${text.vocabSize} words`))
  for (const choice of packages) {
    take(await startCold(choice, 'text', await textRequest(choice)))
    take(await startCold(choice, 'image', await imageRequest(choice)))
  }
}

interface ColdStart {
  firstAnswerMs: number
  warmMs: number
  loadMs?: number
  warmUpMs?: number
}

/** Medians over fresh starts, each figure by itself. */
async function startCold({ variant, directory }: PackageChoice, input: Input, send: Send): Promise<BenchLine> {
  const pack = await checkPackage(directory)
  const starts: ColdStart[] = []
  for (let i = 0; i < flags.starts; i += 1) starts.push(await startOnce(pack, input, send))
  const medianOf = (pick: (start: ColdStart) => number | undefined): number | undefined => {
    const values = starts.flatMap((start) => pick(start) ?? [])
    return values.length > 0 ? toThreeDecimals(median(values)) : undefined
  }
  const loadMs = medianOf((start) => start.loadMs)
  const warmUpMs = medianOf((start) => start.warmUpMs)
  return {
    bench: 'cold',
    variant,
    input,
    source: homeOf(pack, DEFAULT_BUCKET).source,
    starts: starts.length,
    firstAnswerMs: medianOf((start) => start.firstAnswerMs) ?? 0,
    warmMs: medianOf((start) => start.warmMs) ?? 0,
    ...(loadMs === undefined ? {} : { loadMs }),
    ...(warmUpMs === undefined ? {} : { warmUpMs }),
  }
}

async function startOnce(pack: CheckedPackage, input: Input, send: Send): Promise<ColdStart> {
  const workers = await serve(pack)
  try {
    const firstAnswerMs = await send(workers)
    const warmTimesMs: number[] = []
    for (let i = 0; i < WARM_REQUESTS; i += 1) warmTimesMs.push(await send(workers))
    return { firstAnswerMs, warmMs: median(warmTimesMs), ...(await loadTimes(workers, input)) }
  } finally {
    await workers.stop()
  }
}

/** Workers that no request has reached, and the package where production would have it. */
async function serve(pack: CheckedPackage): Promise<RunningWorkers> {
  const { directory, configPath, files } = pack
  const home = homeOf(pack, DEFAULT_BUCKET)
  if (home.source === 'assets') {
    return await startWorkers({ modelDirectory: { 'flava-edge-text': directory, 'flava-edge-image': directory } })
  }
  const workers = await startWorkers({ r2: { configKey: home.configKey } })
  const bucket = await workers.modelBucket()
  for (const { path, sha256 } of files) await bucket.put(contentKey(sha256), await readFile(path))
  await bucket.put(home.configKey, await readFile(configPath))
  return workers
}

/** What /readyz says of the encoder, where it does. */
async function loadTimes(workers: RunningWorkers, input: Input): Promise<{ loadMs?: number; warmUpMs?: number }> {
  const { workers: states } = ReadinessSchema.parse(await (await workers.fetch('/readyz')).json())
  const state = input === 'text' ? states.text_encoder : states.image_encoder
  return state.status === 'READY' ? { loadMs: state.load_ms, warmUpMs: state.warm_up_ms } : {}
}

async function textRequest({ directory }: PackageChoice): Promise<Send> {
  const { text, maxTextLength } = await readManifest(directory)
  const tokens = makeTokens(Math.min(TEXT_TOKENS, maxTextLength), text.vocabSize).slice(1, -1)
  return sender('application/json', JSON.stringify({ model: 'flava-emoji', input: tokens }))
}

async function imageRequest({ directory }: PackageChoice): Promise<Send> {
  const manifest = await readManifest(directory)
  const side = manifest.image.imageSize
  const input = makeInput(`image${side}`, manifest)
  if (input.kind !== 'image') throw new Error(`image${side}: expected a picture`)
  const raw = { width: side, height: side, channels: 3 } as const
  return sender('image/png', new Uint8Array(await sharp(input.rgb, { raw }).png().toBuffer()))
}

function sender(type: string, body: BodyInit): Send {
  return async ({ url }) => {
    const startMs = performance.now()
    const response = await fetch(new URL('/v1/embeddings', url), {
      method: 'POST',
      headers: { 'content-type': type },
      body,
    })
    const answer = await response.text()
    if (!response.ok) throw new Error(`expected 200, got ${response.status} ${answer.slice(0, 200)}`)
    return performance.now() - startMs
  }
}

function take(line: BenchLine): void {
  lines.push(line)
  if (flags.json) console.log(JSON.stringify(line))
}

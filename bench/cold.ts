// `npm run bench -- cold`: from the first request at a Worker that is not there yet to its answer, one text and one picture,
// through the gateway in local workerd; and a warm answer beside it. The package comes from the local disk, so the network of
// a real location is not in it. How much of it is loading and warming up is what /readyz tells.
//   --json, --package default=<folder>, --variants default,small
import { parseArgs } from 'node:util'
import sharp from 'sharp'
import { z } from 'zod'
import { ReadinessSchema } from '../src/handlers/health.ts'
import { readManifest } from '../tools/model/load-model.ts'
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
})
const options = {
  json: { type: 'boolean' },
  variants: { type: 'string' },
  package: { type: 'string', multiple: true },
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

async function startCold({ variant, directory }: PackageChoice, input: Input, send: Send): Promise<BenchLine> {
  const modelDirectory = { 'flava-edge-text': directory, 'flava-edge-image': directory }
  const workers = await startWorkers({ modelDirectory })
  try {
    const firstAnswerMs = toThreeDecimals(await send(workers))
    const warmTimesMs: number[] = []
    for (let i = 0; i < WARM_REQUESTS; i += 1) warmTimesMs.push(await send(workers))
    const warmMs = toThreeDecimals(median(warmTimesMs))
    return { bench: 'cold', variant, input, firstAnswerMs, warmMs, ...(await loadTimes(workers, input)) }
  } finally {
    await workers.stop()
  }
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

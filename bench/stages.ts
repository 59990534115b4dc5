// `npm run bench -- stages`: where an encoder's time goes, kernel by kernel and shape by shape, all tokens computed.
//   --json, --rounds N (default 15), --shapes …, --package default=<folder>, --variants default,small
//   --bounds-checks            with explicit bounds checks, as workerd runs (default: Node as it is)
import { parseArgs } from 'node:util'
import { z } from 'zod'
import { encodeImage } from '../src/flava/image-encoder.ts'
import { encodeText } from '../src/flava/text-encoder.ts'
import { MAX_BENCH_MEMORY_BYTES } from './encoders/bench-memory.ts'
import { loadImageModel, loadTextModel, readManifest } from '../tools/model/load-model.ts'
import { conditionNamed } from './encoders/conditions.ts'
import { defaultShapes, makeInput } from './encoders/inputs.ts'
import type { EncoderInput } from './encoders/inputs.ts'
import { runProcess } from './encoders/job.ts'
import type { BenchLine } from './encoders/lines.ts'
import { machineLine } from './encoders/machine.ts'
import type { PackageChoice } from './encoders/ours.ts'
import { choosePackages, parsePackageFlag } from './encoders/packages.ts'
import { machineText } from './encoders/report-tables.ts'
import { stageTables } from './encoders/report-profile.ts'
import { median, toThreeDecimals } from './encoders/statistics.ts'
import { clockStages } from './encoders/timed-kernels.ts'

const WARM_UP_PASSES = 5
const DEFAULT_ROUNDS = 15
/** Set in the process that measures, which has the condition's flags and one core. */
const MEASURING_FLAG = 'measure'
const list = z.string().transform((value) => value.split(','))

const flagsSchema = z.strictObject({
  json: z.boolean().default(false),
  rounds: z.coerce.number().int().min(1).default(DEFAULT_ROUNDS),
  shapes: list.optional(),
  variants: list.default(['default', 'small']),
  package: z.array(z.string()).default([]),
  'bounds-checks': z.boolean().default(false),
  [MEASURING_FLAG]: z.boolean().default(false),
})

const options = {
  json: { type: 'boolean' },
  rounds: { type: 'string' },
  shapes: { type: 'string' },
  variants: { type: 'string' },
  package: { type: 'string', multiple: true },
  'bounds-checks': { type: 'boolean' },
  [MEASURING_FLAG]: { type: 'boolean' },
} as const

const flags = flagsSchema.parse({ ...parseArgs({ options }).values })
const condition = conditionNamed(flags['bounds-checks'] ? 'bounds-checks' : 'guard-pages')
const packages = await choosePackages(flags.package.map(parsePackageFlag), flags.variants)
if (flags.measure) {
  for (const choice of packages) await profilePackage(choice)
} else {
  await profileInProcess()
}

async function profileInProcess(): Promise<void> {
  const lines: BenchLine[] = []
  const take = (line: BenchLine) => {
    lines.push(line)
    if (flags.json) console.log(JSON.stringify(line))
  }
  const manifest = await readManifest(packages[0]?.directory ?? '')
  take(machineLine(`${manifest.text.hiddenSize} x ${manifest.text.numLayers}, ${manifest.text.vocabSize} words`))
  await runProcess(import.meta.filename, [...process.argv.slice(2), '--measure'], condition, take)
  if (!flags.json) console.log([machineText(lines), stageTables(lines)].join('\n\n'))
}

async function profilePackage(choice: PackageChoice): Promise<void> {
  const manifest = await readManifest(choice.directory)
  const inputs = (flags.shapes ?? defaultShapes(manifest)).map((shape) => makeInput(shape, manifest))
  const memory = { maxBytes: MAX_BENCH_MEMORY_BYTES }
  if (inputs.some(({ kind }) => kind === 'text')) {
    const { text, kernels } = await loadTextModel(choice.directory, memory)
    const clock = clockStages(kernels, new Map([[text.stack.projection.dataPtr, 'projection']]))
    const encoder = { ...text, kernels: clock.kernels }
    for (const input of inputs) {
      if (input.kind !== 'text') continue
      profile(choice, input, clock.take, () => encodeText(encoder, [{ inputIds: input.inputIds }], 'hidden'))
    }
  }
  if (inputs.some(({ kind }) => kind === 'image')) {
    const { image, kernels } = await loadImageModel(choice.directory, memory)
    const { stack, embeddings } = image
    const named = new Map([
      [stack.projection.dataPtr, 'projection'],
      [embeddings.patchProjection.dataPtr, 'GEMM patches'],
    ])
    const clock = clockStages(kernels, named)
    const encoder = { ...image, kernels: clock.kernels }
    for (const input of inputs) {
      if (input.kind !== 'image') continue
      profile(choice, input, clock.take, () => encodeImage(encoder, input.pixelValues, 1, 'hidden'))
    }
  }
}

/** What no kernel does (cutting patches, copying) is in no stage. */
function profile(
  { variant }: PackageChoice,
  { shape }: EncoderInput,
  take: () => Map<string, number>,
  run: () => void,
): void {
  for (let pass = 0; pass < WARM_UP_PASSES; pass += 1) run()
  take()
  const rounds = Array.from({ length: flags.rounds }, () => {
    run()
    return take()
  })
  for (const stage of rounds[0]?.keys() ?? []) {
    const medianMs = toThreeDecimals(median(rounds.map((stages) => stages.get(stage) ?? 0)))
    const line: BenchLine = {
      bench: 'stages',
      variant,
      condition: condition.name,
      shape,
      stage,
      medianMs,
      rounds: rounds.length,
    }
    console.log(JSON.stringify(line))
  }
}

// `npm run bench -- encoders`: our encoders against onnxruntime-web and onnxruntime-node on the same weights and the same work,
// one core, contestants interleaved in one process; in Node as it is and with explicit bounds checks, and ours in workerd.
// Where the CPU has a fused byte dot product, both conditions are run without it too. Flags:
//   --json                     one JSON object a line on standard output (lines.ts), instead of tables
//   --rounds N                 timed rounds of every contestant (default 15)
//   --shapes text16,image224   default: text8, text16, text32, text77, image224
//   --variants default,small   default: default, small, w7, simd128 (the plain build of the default package)
//   --conditions guard-pages   default: all that this CPU has
//   --package default=<folder> packages to take instead of the stand-in's; may be given several times
//   --checkpoint <folder>      what the rivals' models are made of (default: the stand-in)
//   --no-peers, --no-workerd   ours alone; Node alone
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { z } from 'zod'
import { readManifest } from '../tools/model/load-model.ts'
import { CONDITIONS, conditionNamed } from './encoders/conditions.ts'
import type { Condition } from './encoders/conditions.ts'
import { defaultShapes, makeInput } from './encoders/inputs.ts'
import { runProcess } from './encoders/job.ts'
import type { Job } from './encoders/job.ts'
import { linesOf } from './encoders/lines.ts'
import type { BenchLine } from './encoders/lines.ts'
import { machineLine } from './encoders/machine.ts'
import { choosePackages, ensureStandin, parsePackageFlag, STANDIN_DIR, VARIANTS } from './encoders/packages.ts'
import { ensurePeerModels, ensurePeerPackages } from './encoders/peer-models.ts'
import { encoderReport } from './encoders/report-tables.ts'
import { peerVersions } from './encoders/rivals.ts'

const MEASURE_SCRIPT = join(import.meta.dirname, 'encoders/measure.ts')
const DEFAULT_ROUNDS = 15
const list = z.string().transform((value) => value.split(','))

const flagsSchema = z.strictObject({
  json: z.boolean().default(false),
  rounds: z.coerce.number().int().min(1).default(DEFAULT_ROUNDS),
  shapes: list.optional(),
  variants: list.default([...VARIANTS]),
  conditions: list.default(CONDITIONS.map(({ name }) => name)),
  package: z.array(z.string()).default([]),
  checkpoint: z.string().optional(),
  'no-peers': z.boolean().default(false),
  'no-workerd': z.boolean().default(false),
})

const options = {
  json: { type: 'boolean' },
  rounds: { type: 'string' },
  shapes: { type: 'string' },
  variants: { type: 'string' },
  conditions: { type: 'string' },
  package: { type: 'string', multiple: true },
  checkpoint: { type: 'string' },
  'no-peers': { type: 'boolean' },
  'no-workerd': { type: 'boolean' },
} as const

const flags = flagsSchema.parse({ ...parseArgs({ options }).values })
const lines: BenchLine[] = []
await benchEncoders()
if (!flags.json) console.log(encoderReport(lines))

async function benchEncoders(): Promise<void> {
  const packages = await choosePackages(flags.package.map(parsePackageFlag), flags.variants)
  const [firstPackage] = packages
  if (!firstPackage) throw new Error('--variants: none of them has a package')
  const manifest = await readManifest(firstPackage.directory)
  const shapes = flags.shapes ?? defaultShapes(manifest)
  const kinds = new Map(shapes.map((shape) => [shape, makeInput(shape, manifest).kind]))
  const versions = flags['no-peers'] ? {} : await preparePeers()
  take(
    machineLine(`${manifest.text.hiddenSize} x ${manifest.text.numLayers}, ${manifest.text.vocabSize} words`, versions),
  )

  let hasFusedDot = true
  for (const condition of flags.conditions.map(conditionNamed)) {
    if (!condition.isVnniAllowed && !hasFusedDot) continue
    for (const modality of ['text', 'image'] as const) {
      const job: Job = {
        condition: condition.name,
        modality,
        packages,
        shapes: shapes.filter((shape) => kinds.get(shape) === modality),
        rounds: flags.rounds,
        hasRivals: !flags['no-peers'],
        // workerd takes no V8 flags: it is compared once, with the Node that is run as it appears to run.
        hasWorkerd: !flags['no-workerd'] && condition.name === 'bounds-checks',
        hasPeaks: modality === 'image',
      }
      if (job.shapes.length > 0) await runJob(job, condition)
    }
    hasFusedDot = linesOf(lines, 'dot-kind').some(({ dotKind }) => dotKind === 'fused')
  }
}

async function preparePeers(): Promise<Record<string, string>> {
  await ensurePeerPackages()
  if (flags.checkpoint === undefined) await ensureStandin()
  await ensurePeerModels(flags.checkpoint ?? STANDIN_DIR)
  return await peerVersions()
}

async function runJob(job: Job, condition: Condition): Promise<void> {
  console.error(`${condition.title}: ${job.shapes.join(', ')}, ${job.rounds} rounds`)
  await runProcess(MEASURE_SCRIPT, [JSON.stringify(job)], condition, take)
}

function take(line: BenchLine): void {
  lines.push(line)
  if (flags.json) console.log(JSON.stringify(line))
}

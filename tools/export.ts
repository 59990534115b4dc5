// `npm run export`: a checkpoint becomes a model package, measured against fp32 PyTorch before it replaces anything.
// Python quantizes and makes the reference vectors; the WASM engine is run here, in Node.
import { copyFile, mkdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { existsSync } from 'node:fs'
import { basename, join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { z } from 'zod'
import { WEIGHTS_FILE } from '../src/flava/weights.ts'
import { renderModelCard, scoreSchema, trainingSchema } from './export/model-card.ts'
import type { Score } from './export/model-card.ts'
import { readParitySet } from './export/parity-inputs.ts'
import { exportReportSchema, measureParity } from './export/parity-report.ts'
import type { ParityReport } from './export/parity-report.ts'
import { readManifest } from './model/load-model.ts'
import { ensurePythonEnv, PYTHON_ENV } from './python-env.ts'
import { runCommand } from './run-command.ts'

const USAGE = `usage: npm run export [-- options]

  --checkpoint <dir>    Hugging Face checkpoint   (default: models/flava-emoji/checkpoint)
  --out <dir>           package to write          (default: models/flava-emoji)
  --scores <file>       lines of 'npm run eval -- retrieval --json' for the model card (default: <out>/scores.json,
                        when it was measured on the same weights)
  --license <id>        licence of the weights    (default: apache-2.0)
  --rounding <how>      nearest, or compensated for half the error at some minutes (default: nearest)
  --data <dir>          adds the dev split to the parity inputs when it exists (default: data/emoji)
  --onnx                also write build/onnx/text.onnx and image.onnx
  --allow-below-gate    write the package although its parity is below the gate`

const WORK_DIR = resolve('build/export')
const PACKAGE_FILES = ['config.json', 'tokenizer.json', 'preprocessor_config.json', WEIGHTS_FILE]

const flagsSchema = z.object({
  checkpoint: z.string().default('models/flava-emoji/checkpoint'),
  out: z.string().default('models/flava-emoji'),
  scores: z.string().optional(),
  license: z.string().default('apache-2.0'),
  rounding: z.enum(['nearest', 'compensated']).default('nearest'),
  data: z.string().default('data/emoji'),
  onnx: z.boolean().default(false),
  'allow-below-gate': z.boolean().default(false),
  help: z.boolean().default(false),
})

/** What `npm run eval -- retrieval --save` wrote, as far as the card needs it. */
const savedScoresSchema = z.object({ model: z.object({ weights: z.string() }), rows: z.array(scoreSchema) })

type Flags = z.infer<typeof flagsSchema>

async function main(): Promise<void> {
  const flags = readFlags()
  if (flags.help) {
    console.log(USAGE)
    return
  }
  const python = await ensurePythonEnv()
  const staged = join(WORK_DIR, 'package')
  const parity = await quantizeAndMeasure(python, flags, staged)
  await writeFile(join(staged, 'parity.json'), `${JSON.stringify(parity, null, 2)}\n`)
  await writeFile(join(staged, 'README.md'), await modelCard(flags, staged, parity))
  printParity(parity)
  if (!parity.gate.isPassed && !flags['allow-below-gate']) {
    const limit = `the smallest cosine must be at least ${parity.gate.minCosine}`
    process.stderr.write(`refused: ${limit}; ${flags.out} is unchanged\n`)
    process.exitCode = 1
    return
  }
  await mkdir(flags.out, { recursive: true })
  for (const file of [...PACKAGE_FILES, 'parity.json', 'README.md']) {
    await copyFile(join(staged, file), join(flags.out, file))
  }
  if (flags.onnx) {
    await runPython(python, 'flava_gpu.onnx_export', ['--checkpoint', flags.checkpoint, '--out', 'build/onnx'])
  }
  console.log(`wrote ${flags.out}`)
}

function readFlags(): Flags {
  const { values } = parseArgs({
    options: {
      checkpoint: { type: 'string' },
      out: { type: 'string' },
      scores: { type: 'string' },
      license: { type: 'string' },
      rounding: { type: 'string' },
      data: { type: 'string' },
      onnx: { type: 'boolean' },
      'allow-below-gate': { type: 'boolean' },
      help: { type: 'boolean' },
    },
  })
  return flagsSchema.parse(values)
}

async function quantizeAndMeasure(python: string, flags: Flags, staged: string): Promise<ParityReport> {
  const vectors = join(WORK_DIR, 'vectors')
  const report = join(WORK_DIR, 'report.json')
  await rm(WORK_DIR, { recursive: true, force: true })
  await mkdir(WORK_DIR, { recursive: true })
  const checkpoint = ['--checkpoint', flags.checkpoint]
  const how = ['--license', flags.license, '--rounding', flags.rounding, '--report', report]
  await runPython(python, 'flava_gpu.export', [...checkpoint, '--out', staged, ...how])
  const hasData = existsSync(join(flags.data, 'pairs.jsonl'))
  const dataArgs = hasData ? ['--data', flags.data] : []
  await runPython(python, 'flava_gpu.parity', [...checkpoint, '--out', vectors, '--keep-pictures', ...dataArgs])
  const exported = exportReportSchema.parse(JSON.parse(await readFile(report, 'utf8')))
  return measureParity(staged, await readParitySet(vectors), exported)
}

async function runPython(python: string, module: string, args: readonly string[]): Promise<void> {
  const { exitCode } = await runCommand(python, ['-m', module, ...args], { env: PYTHON_ENV, isShown: true })
  if (exitCode !== 0) throw new Error(`python -m ${module} failed with exit code ${exitCode}, see its output above`)
}

async function modelCard(flags: Flags, staged: string, parity: ParityReport): Promise<string> {
  const trainingPath = join(flags.checkpoint, 'training.json')
  const manifest = await readManifest(staged)
  return renderModelCard({
    name: basename(resolve(flags.out)),
    manifest,
    parity,
    training: existsSync(trainingPath) ? trainingSchema.parse(JSON.parse(await readFile(trainingPath, 'utf8'))) : null,
    scores:
      flags.scores === undefined ? await readSavedScores(flags.out, manifest.weights) : await readScores(flags.scores),
    fileBytes: (await stat(join(staged, WEIGHTS_FILE))).size,
  })
}

/** Scores of other weights stay out of the card: they would pass for this package's. */
async function readSavedScores(folder: string, weights: string): Promise<Score[]> {
  const path = join(folder, 'scores.json')
  if (!existsSync(path)) return []
  const { model, rows } = savedScoresSchema.parse(JSON.parse(await readFile(path, 'utf8')))
  if (model.weights === weights) return rows
  process.stderr.write(`${path} is of other weights and left out of the card: run npm run eval -- retrieval --save\n`)
  return []
}

async function readScores(path: string): Promise<Score[]> {
  const lines = (await readFile(path, 'utf8')).split('\n').filter((line) => line.trim() !== '')
  return lines.map((line) => scoreSchema.parse(JSON.parse(line)))
}

function printParity({ text, image, devImage, areBuildsBitEqual }: ParityReport): void {
  for (const [name, summary] of Object.entries({ text, image, 'of these dev pictures': devImage })) {
    if (summary) console.log(`${name}: n ${summary.count}  mean ${summary.mean}  p1 ${summary.p1}  min ${summary.min}`)
  }
  console.log(areBuildsBitEqual ? 'both kernel builds agree bit for bit' : 'the kernel builds DIFFER')
}

await main()

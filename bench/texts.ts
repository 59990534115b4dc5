// `npm run bench -- texts`: what a text costs by its tokens, from 1 to the model's longest, and what packing many texts of 16
// tokens into one call gains, at 1, 8 and 32. In Node with bounds checks, as workerd runs, on one core.
//   --json, --rounds N (default 15), --package default=<folder>, --variants default,small
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { z } from 'zod'
import { encodeText } from '../src/flava/text-encoder.ts'
import { embedTexts } from '../src/services/embed-texts.ts'
import type { TextModel } from '../src/services/embed-texts.ts'
import { createTokenizer } from '../src/tokenize/tokenizer.ts'
import { MAX_MEMORY_BYTES } from '../src/workers/encoder-memory.ts'
import { loadTextModel, readManifest } from '../tools/model/load-model.ts'
import { conditionNamed } from './encoders/conditions.ts'
import { makeTokens } from './encoders/inputs.ts'
import { runProcess } from './encoders/job.ts'
import type { BenchLine } from './encoders/lines.ts'
import { machineLine } from './encoders/machine.ts'
import type { PackageChoice } from './encoders/ours.ts'
import { choosePackages, parsePackageFlag } from './encoders/packages.ts'
import { profileReport } from './encoders/report-profile.ts'
import { machineText } from './encoders/report-tables.ts'
import { median, toThreeDecimals } from './encoders/statistics.ts'

const DEFAULT_ROUNDS = 15
const WARM_UP_ROUNDS = 2
const BATCHES: readonly number[] = [1, 8, 32]
const BATCH_TOKENS = 16
const TRACE = { requestId: 'bench', traceparent: '' }
const list = z.string().transform((value) => value.split(','))

const flagsSchema = z.strictObject({
  json: z.boolean().default(false),
  rounds: z.coerce.number().int().min(1).default(DEFAULT_ROUNDS),
  variants: list.default(['default', 'small']),
  package: z.array(z.string()).default([]),
  measure: z.boolean().default(false),
})

const options = {
  json: { type: 'boolean' },
  rounds: { type: 'string' },
  variants: { type: 'string' },
  package: { type: 'string', multiple: true },
  /** Set in the process that measures. */
  measure: { type: 'boolean' },
} as const

const flags = flagsSchema.parse({ ...parseArgs({ options }).values })
const packages = await choosePackages(flags.package.map(parsePackageFlag), flags.variants)
if (flags.measure) {
  for (const choice of packages) await measure(choice)
} else {
  await measureInProcess()
}

async function measureInProcess(): Promise<void> {
  const lines: BenchLine[] = []
  const take = (line: BenchLine) => {
    lines.push(line)
    if (flags.json) console.log(JSON.stringify(line))
  }
  const { text } = await readManifest(packages[0]?.directory ?? '')
  take(machineLine(`${text.hiddenSize} x ${text.numLayers}, ${text.vocabSize} words`))
  const args = [...process.argv.slice(2), '--measure']
  await runProcess(import.meta.filename, args, conditionNamed('bounds-checks'), take)
  if (!flags.json) console.log([machineText(lines), profileReport(lines)].join('\n\n'))
}

async function measure({ variant, directory }: PackageChoice): Promise<void> {
  const { text, manifest } = await loadTextModel(directory, { maxBytes: MAX_MEMORY_BYTES })
  const lengths = Array.from({ length: manifest.maxTextLength }, (_, index) => index + 1)
  const inputs = lengths.map((length) => makeTokens(length, manifest.text.vocabSize))
  const curve = timeEach(inputs, (inputIds) => encodeText(text, [{ inputIds }], 'projected'))
  for (const [index, timesMs] of curve.entries()) {
    print({
      bench: 'tokens',
      variant,
      tokens: index + 1,
      medianMs: toThreeDecimals(median(timesMs)),
      rounds: flags.rounds,
    })
  }

  const tokenizerJson: unknown = JSON.parse(await readFile(join(directory, manifest.files.tokenizer.name), 'utf8'))
  const model: TextModel = { manifest, tokenizer: createTokenizer(tokenizerJson), encoder: text }
  const tokens = Math.min(BATCH_TOKENS, manifest.maxTextLength)
  const requests = BATCHES.map((batch) => Array.from({ length: batch }, (_, seed) => makeItem(model, tokens, seed)))
  const batches = timeEach(requests, (items) => {
    embedTexts(model, { items, output: 'projected', truncate: false, trace: TRACE })
  })
  for (const [index, timesMs] of batches.entries()) {
    const batch = BATCHES[index] ?? 0
    const medianMs = toThreeDecimals(median(timesMs))
    const textsPerSecond = toThreeDecimals((1000 * batch) / medianMs)
    print({ bench: 'batches', variant, batch, tokens, medianMs, textsPerSecond, rounds: flags.rounds })
  }
}

/** Every input once a round, so that the machine's moods spread over all of them. */
function timeEach<Input>(inputs: readonly Input[], run: (input: Input) => void): number[][] {
  const timesMs = inputs.map((): number[] => [])
  for (let round = -WARM_UP_ROUNDS; round < flags.rounds; round += 1) {
    for (const [index, input] of inputs.entries()) {
      const startMs = performance.now()
      run(input)
      if (round >= 0) timesMs[index]?.push(performance.now() - startMs)
    }
  }
  return timesMs
}

/** A list of token ids that is `tokens` long in the end, [CLS] and [SEP] included. */
function makeItem({ manifest }: TextModel, tokens: number, seed: number): { inputIds: number[] } {
  return { inputIds: makeTokens(tokens, manifest.text.vocabSize, seed).slice(1, -1) }
}

function print(line: BenchLine): void {
  console.log(JSON.stringify(line))
}

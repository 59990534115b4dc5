// `npm run import -- <checkpoint folder>`: checks a Hugging Face FLAVA checkpoint, then exports it as `npm run export` does.
// Every check comes before any work; what the checks are is gpu/flava_gpu/import_checkpoint.py's business.
import { existsSync, statSync } from 'node:fs'
import { mkdir, mkdtemp, readFile, rm } from 'node:fs/promises'
import { basename, join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { z } from 'zod'
import { AppError } from '../src/errors.ts'
import { parseTokenizerJson } from '../src/tokenize/tokenizer-json.ts'
import { makePackage } from './export/make-package.ts'
import { printResult } from './export/print-result.ts'
import { runPython } from './export/python-step.ts'
import { packageFolderOf, VARIANTS } from './export/variants.ts'

const USAGE = `usage: npm run import -- <checkpoint folder> [options]

The folder holds config.json, the weights (model.safetensors, its shards, or pytorch_model.bin), and tokenizer.json or
vocab.txt, as Hugging Face gives them. FlavaModel and FlavaForPreTraining checkpoints both work.

  --out <dir>           package to write; other variants than default get their name after a dash
                        (default: models/<name of the folder>)
  --variant <name>      ${VARIANTS.join(', ')}; may be given several times (default: default and small)
  --license <id>        licence of the weights    (default: what the folder's README.md says)
  --provenance <file>   where the checkpoint comes from, for the card (default: provenance.json beside the checkpoint)
  --rounding <how>      compensated, or nearest: the same bytes on every machine (default: compensated)
  --budget-mib <sizes>  text=<MiB>,image=<MiB> of the tensor files, instead of the variant's
  --allow-below-gate    write a package although its parity is below the gate
  --allow-unfit         write a package although it does not fit a Worker
  --check               check the folder and stop`

const WORK_DIR = resolve('build/import')
/** SPDX's word for a licence that nobody has stated. */
const NO_LICENSE = 'NOASSERTION'

const flagsSchema = z.object({
  out: z.string().min(1).optional(),
  variant: z.array(z.enum(VARIANTS)).default(['default', 'small']),
  license: z.string().min(1).optional(),
  provenance: z.string().optional(),
  rounding: z.enum(['compensated', 'nearest']).default('compensated'),
  'budget-mib': z.string().optional(),
  'allow-below-gate': z.boolean().default(false),
  'allow-unfit': z.boolean().default(false),
  check: z.boolean().default(false),
})

const importReportSchema = z.object({ license: z.string().nullable() })

type Flags = z.infer<typeof flagsSchema>

/** A refusal that the user can act on: printed without a stack trace. */
class ImportError extends Error {}

try {
  await main(process.argv.slice(2))
} catch (error) {
  if (!(error instanceof ImportError || error instanceof AppError)) throw error
  console.error(`${error instanceof AppError ? error.code : 'error'}: ${error.message}`)
  process.exitCode = 1
}

async function main(args: string[]): Promise<void> {
  if (args.includes('--help')) {
    console.log(USAGE)
    return
  }
  const { folder, flags } = readArguments(args)
  await mkdir(WORK_DIR, { recursive: true })
  const work = await mkdtemp(join(WORK_DIR, 'checkpoint-'))
  try {
    await importFolder(folder, flags, work)
  } finally {
    await rm(work, { recursive: true, force: true })
  }
}

async function importFolder(folder: string, flags: Flags, work: string): Promise<void> {
  const staged = join(work, 'staged')
  const report = join(work, 'report.json')
  await runPython('flava_gpu.import_checkpoint', ['--checkpoint', folder, '--staged', staged, '--report', report])
  parseTokenizerJson(JSON.parse(await readFile(join(staged, 'tokenizer.json'), 'utf8')))
  if (flags.check) {
    console.log(`${folder}: can be imported`)
    return
  }
  const license = flags.license ?? (await readLicense(report))
  const out = flags.out ?? join('models', basename(resolve(folder)))
  for (const variant of flags.variant) {
    const result = await makePackage({
      checkpoint: staged,
      variant,
      out: packageFolderOf(out, variant),
      license,
      rounding: flags.rounding,
      budgetMib: flags['budget-mib'] ?? null,
      // No data set goes with a checkpoint from elsewhere: it is measured on made-up inputs alone.
      data: null,
      provenanceFile: flags.provenance ?? null,
      isBelowGateAllowed: flags['allow-below-gate'],
      isUnfitAllowed: flags['allow-unfit'],
    })
    printResult(result)
    if (!result.isWritten) process.exitCode = 1
  }
}

/** The licence that the folder's own card names; of weights without one nothing is claimed. */
async function readLicense(report: string): Promise<string> {
  const { license } = importReportSchema.parse(JSON.parse(await readFile(report, 'utf8')))
  if (license === null)
    console.error(`licence: README.md names none, so the package says ${NO_LICENSE} (or use --license)`)
  return license ?? NO_LICENSE
}

function readArguments(args: string[]): { folder: string; flags: Flags } {
  const { positionals, values } = parse(args)
  const [folder, ...others] = positionals
  if (folder === undefined || others.length > 0) {
    throw new ImportError(`expected one checkpoint folder, got ${positionals.length}\n\n${USAGE}`)
  }
  if (!existsSync(folder)) throw new ImportError(`${folder}: expected a checkpoint folder, found nothing`)
  if (!statSync(folder).isDirectory()) throw new ImportError(`${folder}: expected a checkpoint folder, found a file`)
  const flags = flagsSchema.safeParse(values)
  if (!flags.success) {
    const issue = flags.error.issues[0]
    throw new ImportError(`--${String(issue?.path[0])}: ${issue?.message}`)
  }
  return { folder, flags: flags.data }
}

function parse(args: string[]): { positionals: string[]; values: unknown } {
  try {
    return parseArgs({
      args,
      allowPositionals: true,
      options: {
        out: { type: 'string' },
        variant: { type: 'string', multiple: true },
        license: { type: 'string' },
        provenance: { type: 'string' },
        rounding: { type: 'string' },
        'budget-mib': { type: 'string' },
        'allow-below-gate': { type: 'boolean' },
        'allow-unfit': { type: 'boolean' },
        check: { type: 'boolean' },
      },
    })
  } catch (cause) {
    throw new ImportError(cause instanceof Error ? cause.message : String(cause), { cause })
  }
}

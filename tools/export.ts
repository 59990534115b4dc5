// `npm run export`: the checkpoint of this repository's own training becomes its model packages. The work is
// export/make-package.ts's; this reads flags and reports.
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { z } from 'zod'
import { AppError } from '../src/errors.ts'
import { makePackage } from './export/make-package.ts'
import { printResult } from './export/print-result.ts'
import { runPython } from './export/python-step.ts'
import { packageFolderOf, VARIANTS } from './export/variants.ts'
import type { Variant } from './export/variants.ts'

const USAGE = `usage: npm run export [-- options]

  --checkpoint <dir>    Hugging Face checkpoint   (default: models/flava-emoji/checkpoint)
  --out <dir>           package to write; other variants than default get their name after a dash
                        (default: models/flava-emoji)
  --variant <name>      ${VARIANTS.join(', ')}; may be given several times (default: default and small)
  --provenance <file>   where the checkpoint comes from, for the card (default: provenance.json beside the checkpoint)
  --license <id>        licence of the weights    (default: apache-2.0)
  --rounding <how>      compensated, or nearest: the same bytes on every machine (default: compensated)
  --budget-mib <sizes>  text=<MiB>,image=<MiB> of the tensor files, instead of the variant's
  --data <dir>          its dev split joins the parity inputs and is searched, when it exists (default: data/emoji)
  --onnx                also write build/onnx/text.onnx and image.onnx
  --allow-below-gate    write a package although its parity is below the gate
  --allow-unfit         write a package although it does not fit a Worker`

const flagsSchema = z.object({
  checkpoint: z.string().default('models/flava-emoji/checkpoint'),
  out: z.string().default('models/flava-emoji'),
  variant: z.array(z.enum(VARIANTS)).default(['default', 'small']),
  provenance: z.string().optional(),
  license: z.string().default('apache-2.0'),
  rounding: z.enum(['nearest', 'compensated']).default('compensated'),
  'budget-mib': z.string().optional(),
  data: z.string().default('data/emoji'),
  onnx: z.boolean().default(false),
  'allow-below-gate': z.boolean().default(false),
  'allow-unfit': z.boolean().default(false),
  help: z.boolean().default(false),
})

type Flags = z.infer<typeof flagsSchema>

async function main(): Promise<void> {
  const flags = readFlags()
  if (flags.help) {
    console.log(USAGE)
    return
  }
  for (const variant of flags.variant) {
    if (!(await exportVariant(flags, variant))) process.exitCode = 1
  }
  if (flags.onnx) await runPython('flava_gpu.onnx_export', ['--checkpoint', flags.checkpoint, '--out', 'build/onnx'])
}

/** Returns whether the package was written. */
async function exportVariant(flags: Flags, variant: Variant): Promise<boolean> {
  const result = await makePackage({
    checkpoint: flags.checkpoint,
    variant,
    out: packageFolderOf(flags.out, variant),
    license: flags.license,
    rounding: flags.rounding,
    budgetMib: flags['budget-mib'] ?? null,
    data: existsSync(join(flags.data, 'pairs.jsonl')) ? flags.data : null,
    provenanceFile: flags.provenance ?? null,
    isBelowGateAllowed: flags['allow-below-gate'],
    isUnfitAllowed: flags['allow-unfit'],
  })
  printResult(result)
  return result.isWritten
}

function readFlags(): Flags {
  const { values } = parseArgs({
    options: {
      checkpoint: { type: 'string' },
      out: { type: 'string' },
      variant: { type: 'string', multiple: true },
      provenance: { type: 'string' },
      license: { type: 'string' },
      rounding: { type: 'string' },
      'budget-mib': { type: 'string' },
      data: { type: 'string' },
      onnx: { type: 'boolean' },
      'allow-below-gate': { type: 'boolean' },
      'allow-unfit': { type: 'boolean' },
      help: { type: 'boolean' },
    },
  })
  return flagsSchema.parse({ ...values })
}

try {
  await main()
} catch (error) {
  const isUsage = error instanceof z.ZodError || (error instanceof TypeError && 'code' in error)
  if (isUsage) console.error(`${error.message}\n\n${USAGE}`)
  else if (error instanceof AppError) console.error(`${error.code}: ${error.message}`)
  else console.error(error)
  process.exitCode = isUsage ? 2 : 1
}

// `npm run eval -- <suite> [flags]`: the suites of gpu/flava_gpu/evaluation, inside .venv. They ask the edge engine by way of
// eval/encode.ts. What --save wrote beside a package goes into its card and parity.json here.
import { parseArgs } from 'node:util'
import { recordScores } from './export/record-scores.ts'
import { limitsOf } from './export/variants.ts'
import { runForeground } from './foreground.mjs'
import { readManifest } from './model/load-model.ts'
import { ensurePythonEnv, PYTHON_ENV } from './python-env.ts'

const args = process.argv.slice(2)
const options = { model: { type: 'string', default: 'models/flava-emoji' }, save: { type: 'boolean' } } as const
// Python reads the flags properly; here two of them are looked at.
const { values } = parseArgs({ args, options, strict: false })
const model = String(values.model)
// A variant's own limit stands with the others that export holds it to.
const isGated = args[0] === 'retrieval' && !args.includes('--help')
const gate = isGated ? ['--gate-points', String(limitsOf((await readManifest(model)).variant).retrievalPoints)] : []
const python = await ensurePythonEnv()
await runForeground(python, ['-m', 'flava_gpu.evaluation', ...args, ...gate], {
  cwd: process.cwd(),
  env: { ...process.env, ...PYTHON_ENV },
})
// Exit code 1 is a failed gate or a part that was not run; what was saved is true all the same.
if (values.save === true && Number(process.exitCode) <= 1) await recordScores(model)

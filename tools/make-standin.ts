// `npm run make-standin -- --geometry flava-full --seed 0`: a checkpoint of FLAVA's geometry with made-up heavy weights.
import { runForeground } from './foreground.mjs'
import { ensurePythonEnv, PYTHON_ENV } from './python-env.ts'

const python = await ensurePythonEnv()
await runForeground(python, ['-m', 'flava_gpu.standin', ...process.argv.slice(2)], {
  cwd: process.cwd(),
  env: { ...process.env, ...PYTHON_ENV },
})

// `npm run train -- --config gpu/configs/emoji-v0.yaml`: the Python training script inside .venv, with its own flags.
import { runForeground } from './foreground.mjs'
import { ensurePythonEnv, PYTHON_ENV } from './python-env.ts'

const python = await ensurePythonEnv()
await runForeground(python, ['-m', 'flava_gpu.train', ...process.argv.slice(2)], {
  cwd: process.cwd(),
  env: { ...process.env, ...PYTHON_ENV },
})

// `npm run train -- <stage> --config gpu/configs/emoji/<stage>.yaml`: one of the Python training scripts inside .venv, with its
// own flags. Several processes: torchrun, as docs/training.md shows.
import { runForeground } from './foreground.mjs'
import { ensurePythonEnv, PYTHON_ENV } from './python-env.ts'

const STAGES = ['codebook', 'text', 'image', 'joint', 'probe', 'finetune']

// glibc gives large tensors back to the system at every step unless told to keep them: 20 % of a CPU run's time.
const KEEP_FREED_MEMORY = { MALLOC_MMAP_THRESHOLD_: '4294967296', MALLOC_TRIM_THRESHOLD_: '4294967296' }

const [stage = '', ...flags] = process.argv.slice(2)
if (STAGES.includes(stage)) {
  const python = await ensurePythonEnv()
  await runForeground(python, ['-m', `flava_gpu.stages.${stage}`, ...flags], {
    cwd: process.cwd(),
    env: { ...KEEP_FREED_MEMORY, ...process.env, ...PYTHON_ENV },
  })
} else {
  console.error(`usage: npm run train -- ${STAGES.join('|')} --config <file> [--runs <folder>] [--fresh]`)
  process.exitCode = 2
}

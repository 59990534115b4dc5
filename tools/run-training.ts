// Runs a Python module of gpu/ that trains, in the foreground: signals reach it, its exit code becomes ours.
import { runForeground } from './foreground.mjs'
import { ensurePythonEnv, PYTHON_ENV } from './python-env.ts'

// glibc gives large tensors back to the system at every step unless told to keep them: 15 % of a CPU run's time.
const KEEP_FREED_MEMORY = { MALLOC_MMAP_THRESHOLD_: '4294967296', MALLOC_TRIM_THRESHOLD_: '4294967296' }

export async function runTraining(module: string, args: readonly string[]): Promise<void> {
  const python = await ensurePythonEnv()
  await runForeground(python, ['-m', module, ...args], {
    cwd: process.cwd(),
    env: { ...KEEP_FREED_MEMORY, ...process.env, ...PYTHON_ENV },
  })
}

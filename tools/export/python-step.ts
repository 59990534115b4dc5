// One module of the Python half, run to its end with its output shown.
import { ensurePythonEnv, PYTHON_ENV } from '../python-env.ts'
import { runCommand } from '../run-command.ts'
import { PythonStepError } from './errors.ts'

/** @throws PythonStepError when it fails; what it printed says why */
export async function runPython(module: string, args: readonly string[]): Promise<void> {
  const python = await ensurePythonEnv()
  const { exitCode } = await runCommand(python, ['-m', module, ...args], { env: PYTHON_ENV, isShown: true })
  if (exitCode !== 0) {
    throw new PythonStepError(`python -m ${module} ended with exit code ${exitCode}, see its output above`)
  }
}

// `npm run check`: every rule that a tool can hold, TypeScript and Python. All of them run even when one fails.
import { ensurePythonEnv, VENV_PYTHON } from './python-env.ts'
import { runCommand } from './run-command.ts'
import { stageTable, type StageResult } from './stage-table.ts'

interface Check {
  name: string
  command: string
  args: readonly string[]
}

const TYPESCRIPT_CHECKS: readonly Check[] = [
  { name: 'format', command: 'prettier', args: ['--check', '--log-level', 'warn', '.'] },
  { name: 'lint', command: 'oxlint', args: ['--type-aware', '--deny-warnings'] },
  { name: 'types', command: 'tsc', args: ['--noEmit', '-p', '.'] },
  { name: 'dead code', command: 'knip', args: ['--no-progress'] },
  { name: 'import rule', command: 'vitest', args: ['run', 'test/architecture.test.ts'] },
]

const PYTHON_CHECKS: readonly Check[] = [
  { name: 'ruff lint', command: VENV_PYTHON, args: ['-m', 'ruff', 'check', 'gpu'] },
  { name: 'ruff format', command: VENV_PYTHON, args: ['-m', 'ruff', 'format', '--check', 'gpu'] },
  { name: 'pyright', command: 'pyright', args: ['-p', 'gpu', '--pythonpath', VENV_PYTHON] },
]

/** Runs every check and prints the output of those that fail. Expects .venv; without it the Python checks fail. */
export async function runChecks(): Promise<StageResult[]> {
  const results: StageResult[] = []
  for (const { name, command, args } of [...TYPESCRIPT_CHECKS, ...PYTHON_CHECKS]) {
    const { exitCode, output, seconds } = await runCommand(command, args)
    if (exitCode !== 0) console.error(`\n${name}: ${command} ${args.join(' ')}\n${output.trimEnd()}`)
    results.push({ name, isOk: exitCode === 0, seconds })
  }
  return results
}

async function main(): Promise<void> {
  await ensurePythonEnv().catch((error: Error) => console.error(`error: ${error.message}`))
  const results = await runChecks()
  console.log(`\n${stageTable(results)}`)
  if (results.some(({ isOk }) => !isOk)) process.exitCode = 1
}

if (import.meta.main) await main()

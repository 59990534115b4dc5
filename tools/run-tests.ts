// `npm test`: sets up what is missing, then runs all checks and all TypeScript and Python tests. A stage that fails does
// not keep the others from running. The runners' own closing counts come last, then their sum.
import { buildWasm } from './build-wasm.ts'
import { runChecks } from './check.ts'
import { pytestCounts, sumLine, vitestCounts, type ClosingCounts } from './closing-counts.ts'
import { ensurePythonEnv, PYTHON_ENV, VENV_PYTHON } from './python-env.ts'
import { runCommand } from './run-command.ts'
import { stageTable, type StageResult } from './stage-table.ts'

const results: StageResult[] = []

await runStage('python set-up', async () => {
  await ensurePythonEnv()
  return true
})
await runStage('kernels build', async () => {
  await buildWasm()
  return true
})

console.log('\n== checks')
results.push(...(await runChecks()))

const counts: ClosingCounts[] = []
await runStage('vitest', () => runTests('vitest', ['run'], vitestCounts))
await runStage('pytest', () =>
  runTests(VENV_PYTHON, ['-m', 'pytest', '-c', 'gpu/pyproject.toml', 'gpu/tests'], pytestCounts),
)

console.log(`\n${stageTable(results)}\n`)
for (const line of counts.flatMap(({ lines }) => lines)) console.log(line)
console.log(sumLine(counts))
if (results.some(({ isOk }) => !isOk)) process.exitCode = 1

async function runStage(name: string, run: () => Promise<boolean>): Promise<void> {
  console.log(`\n== ${name}`)
  const startedMs = performance.now()
  const isOk = await run().catch((error: Error) => {
    console.error(`error: ${error.message}`)
    return false
  })
  results.push({ name, isOk, seconds: (performance.now() - startedMs) / 1000 })
}

async function runTests(
  command: string,
  args: readonly string[],
  readCounts: (output: string) => ClosingCounts,
): Promise<boolean> {
  const { exitCode, output } = await runCommand(command, args, { env: PYTHON_ENV, isShown: true })
  counts.push(readCounts(output))
  return exitCode === 0
}

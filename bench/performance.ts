// `npm run bench -- performance`: every bench behind docs/performance.md, one after the other, into one file of JSON lines.
// On a quiet machine it takes about a quarter of an hour. Then: npm run bench -- report build/bench/performance.jsonl --docs
//   --rounds N, --package <variant>=<folder> (several), --out <file>
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { appendFileSync, mkdirSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { parseArgs } from 'node:util'

const options = {
  rounds: { type: 'string' },
  out: { type: 'string' },
  package: { type: 'string', multiple: true },
} as const
const { values } = parseArgs({ options })
const out = values.out ?? 'build/bench/performance.jsonl'
const packages = (values.package ?? []).flatMap((choice) => ['--package', choice])
const rounds = values.rounds === undefined ? [] : ['--rounds', values.rounds]

const RUNS: readonly (readonly string[])[] = [
  ['encoders', ...rounds, ...packages],
  ['stages', ...rounds, ...packages],
  ['texts', ...rounds, ...packages],
  ['cold', ...packages],
  ['embedded'],
]

mkdirSync(dirname(out), { recursive: true })
writeFileSync(out, '')
for (const [name = '', ...flags] of RUNS) {
  console.error(`\n${name}`)
  const args = [join(import.meta.dirname, `${name}.ts`), ...flags, '--json']
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] })
  child.stdout.on('data', (chunk: Buffer) => appendFileSync(out, chunk))
  const [exitCode] = await once(child, 'close')
  if (exitCode !== 0) {
    console.error(`${name}: ended with ${String(exitCode)}; the others go on`)
    process.exitCode = 1
  }
}
console.error(`\nnpm run bench -- report ${out}`)

// `npm run bench -- <name> [flags]`: runs bench/<name>.ts, which reads its own flags. Without a name it lists them.
import { globSync } from 'node:fs'
import { basename } from 'node:path'
import { runForeground } from '../tools/foreground.mjs'

const [name = '', ...flags] = process.argv.slice(2)
const names = globSync('bench/*.ts')
  .map((path) => basename(path, '.ts'))
  .filter((candidate) => candidate !== 'run')

if (names.includes(name)) {
  await runForeground(process.execPath, [`bench/${name}.ts`, ...flags], { cwd: process.cwd(), env: process.env })
} else {
  console.error(`usage: npm run bench -- ${names.toSorted().join('|')} [flags]`)
  process.exitCode = 1
}

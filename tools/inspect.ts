// `npm run inspect -- <package>`: what is in a model package, how good it is, and whether every byte is as it says.
import { parseArgs } from 'node:util'
import { AppError } from '../src/errors.ts'
import { formatPackage, packageAsJson } from './inspect/format-package.ts'
import { inspectPackage } from './inspect/read-package.ts'

const USAGE = `usage: npm run inspect -- <package folder> [--json]

Verifies the hash of every file, then prints identity, geometry, schemes and bytes by part, parity, the cosine after each
layer and the worst tensors. Ends with 1 when the package is not whole.`

/** Prints to the console and returns the exit code. */
async function main(args: readonly string[]): Promise<number> {
  const { values, positionals } = parseArgs({
    args: [...args],
    allowPositionals: true,
    options: { json: { type: 'boolean' }, help: { type: 'boolean' } },
  })
  if (values.help) {
    console.log(USAGE)
    return 0
  }
  const [directory, ...others] = positionals
  if (directory === undefined || others.length > 0) {
    console.error(USAGE)
    return 2
  }
  const inspected = await inspectPackage(directory)
  console.log(values.json ? JSON.stringify(packageAsJson(inspected)) : formatPackage(inspected))
  return 0
}

try {
  process.exitCode = await main(process.argv.slice(2))
} catch (error) {
  const isUsage = error instanceof TypeError && 'code' in error
  if (isUsage) console.error(`${error.message}\n\n${USAGE}`)
  else if (error instanceof AppError) console.error(`${error.code}: ${error.message}`)
  else console.error(error)
  process.exitCode = isUsage ? 2 : 1
}

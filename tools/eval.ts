// `npm run eval -- <suite> [flags]`: evaluation suites of the embedded model. Each suite reads its own flags.
import { z } from 'zod'
import { AppError } from '../src/errors.ts'
import { RETRIEVAL_USAGE, runRetrieval } from './eval/retrieval.ts'

interface Suite {
  run: (args: readonly string[]) => Promise<number>
  usage: string
}

const SUITES: Record<string, Suite> = {
  retrieval: { run: runRetrieval, usage: RETRIEVAL_USAGE },
}

const [name = '', ...args] = process.argv.slice(2)
const suite = SUITES[name]
if (suite === undefined) {
  console.error(`usage: npm run eval -- ${Object.keys(SUITES).join('|')} [options]; --help after a suite lists its own`)
  process.exitCode = 2
} else if (args.includes('--help')) {
  console.log(suite.usage)
} else {
  process.exitCode = await runSuite(suite)
}

async function runSuite({ run, usage }: Suite): Promise<number> {
  try {
    return await run(args)
  } catch (error) {
    const isUsage = error instanceof z.ZodError || (error instanceof TypeError && 'code' in error)
    if (isUsage) console.error(`${error.message}\n\n${usage}`)
    else if (error instanceof AppError) console.error(`${error.code}: ${error.message}`)
    else console.error(error)
    return isUsage ? 2 : 1
  }
}

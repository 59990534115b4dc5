// `npm run deploy`: bundles every Worker, refuses one that is over Cloudflare's limit, then deploys them, the gateway last.
// With --dry-run it stops before the deployment and needs neither account nor network.
import { basename, relative } from 'node:path'
import { parseArgs } from 'node:util'
import { buildWorkers, type BuiltWorker } from './build-workers.ts'
import { runForeground } from './foreground.mjs'
import { WRANGLER_PATH } from './wrangler.ts'

/** https://developers.cloudflare.com/workers/platform/limits/: uncompressed, static assets not counted. */
const MAX_UPLOAD_MIB = 64
const MIB = 1024 * 1024

const { values: flags } = parseArgs({ options: { 'dry-run': { type: 'boolean', default: false } } })

const workers = await buildWorkers()
for (const worker of workers) console.log(sizeLine(worker))
const tooLarge = workers.filter(({ sizeBytes }) => sizeBytes >= MAX_UPLOAD_MIB * MIB)
if (tooLarge.length > 0) {
  console.error(`error: over ${MAX_UPLOAD_MIB} MiB: ${tooLarge.map(({ directory }) => basename(directory)).join(', ')}`)
  process.exitCode = 1
} else if (!flags['dry-run']) {
  // The gateway is the first in the list; its service bindings need the others to exist.
  for (const { configPath } of workers.toReversed()) await deploy(configPath)
}

function sizeLine({ directory, sizeBytes }: BuiltWorker): string {
  const mebibytes = (sizeBytes / MIB).toFixed(2).padStart(6)
  return `${basename(directory).padEnd(8)} ${mebibytes} MiB of ${MAX_UPLOAD_MIB}  ${relative('.', directory)}/`
}

async function deploy(configPath: string): Promise<void> {
  await runForeground(process.execPath, [WRANGLER_PATH, 'deploy', '-c', configPath], {
    cwd: process.cwd(),
    env: process.env,
  })
  if (process.exitCode !== 0) process.exit()
}

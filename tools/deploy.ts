// `npm run deploy`: bundles every Worker, refuses one that is over Cloudflare's limit, then deploys them, the gateway last.
// `--model <package folder>` deploys another package than the embedded one: a large one is uploaded to an R2 bucket first
// (`--bucket`, which must exist). With --dry-run nothing leaves this machine: neither account nor network is needed.
import { basename, relative, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { contentKey } from '../src/platform/r2-package.ts'
import { buildWorkers, WORKER_CONFIGS, type BuiltWorker } from './build-workers.ts'
import { runForeground } from './foreground.mjs'
import { checkPackage, PackageError, type CheckedPackage } from './model/package-check.ts'
import { DEFAULT_BUCKET, homeOf, writeWorkerSettings } from './model/worker-settings.ts'
import { runCommand } from './run-command.ts'
import { OFFLINE_ENV, WRANGLER_PATH } from './wrangler.ts'

/** https://developers.cloudflare.com/workers/platform/limits/: uncompressed, static assets not counted. */
const MAX_UPLOAD_MIB = 64
const MIB = 1024 * 1024
/** What `wrangler r2 object put` takes; a larger object needs an S3 client. */
const MAX_OBJECT_MIB = 300

interface Upload {
  path: string
  key: string
  sizeBytes: number
}

interface Deployment {
  /** wrangler files, the gateway's first. */
  configs: readonly string[]
  bucket: string
  uploads: readonly Upload[]
}

const { values: flags } = parseArgs({
  options: {
    'dry-run': { type: 'boolean', default: false },
    model: { type: 'string' },
    bucket: { type: 'string', default: DEFAULT_BUCKET },
  },
})

try {
  await main()
} catch (error) {
  if (!(error instanceof PackageError)) throw error
  console.error(`error: ${error.message}`)
  process.exitCode = 1
}

async function main(): Promise<void> {
  const deployment = await planDeployment()
  const workers = await buildWorkers()
  for (const worker of workers) console.log(sizeLine(worker))
  const tooLarge = workers.filter(({ sizeBytes }) => sizeBytes >= MAX_UPLOAD_MIB * MIB)
  if (tooLarge.length > 0) {
    const names = tooLarge.map(({ directory }) => basename(directory)).join(', ')
    throw new PackageError(`over ${MAX_UPLOAD_MIB} MiB: ${names}`)
  }
  for (const { path, key, sizeBytes } of deployment.uploads) {
    console.log(`${relative('.', path)}  ${(sizeBytes / MIB).toFixed(2)} MiB  to ${deployment.bucket}/${key}`)
    if (!flags['dry-run'])
      await runWrangler(['r2', 'object', 'put', `${deployment.bucket}/${key}`, '--file', path, '--remote'])
  }
  // The gateway is the first in the list; its service bindings need the others to exist.
  for (const config of deployment.configs.toReversed()) {
    if (flags['dry-run']) await rehearse(config)
    else await runWrangler(['deploy', '-c', config])
  }
}

async function planDeployment(): Promise<Deployment> {
  const { model, bucket } = flags
  if (model === undefined) return { configs: WORKER_CONFIGS, bucket, uploads: [] }
  const pack = await checkPackage(model)
  const home = homeOf(pack, bucket)
  const uploads = home.source === 'r2' ? uploadsOf(pack, home.configKey) : []
  return { configs: writeWorkerSettings(pack, home), bucket, uploads }
}

/** config.json goes last, so that it never names what is not there. */
function uploadsOf({ files, configPath }: CheckedPackage, configKey: string): Upload[] {
  const tooLarge = files.find(({ sizeBytes }) => sizeBytes > MAX_OBJECT_MIB * MIB)
  if (tooLarge)
    throw new PackageError(`${tooLarge.path}: expected at most ${MAX_OBJECT_MIB} MiB, got ${tooLarge.sizeBytes} bytes`)
  return [
    ...files.map(({ path, sha256, sizeBytes }) => ({ path, key: contentKey(sha256), sizeBytes })),
    { path: configPath, key: configKey, sizeBytes: 0 },
  ]
}

/** Everything that a deployment does with a wrangler file but the upload. */
async function rehearse(config: string): Promise<void> {
  const directory = resolve('.wrangler/rehearsal', basename(config))
  const args = [WRANGLER_PATH, 'deploy', '--dry-run', '-c', config, '--outdir', directory]
  const { exitCode, output } = await runCommand(process.execPath, args, { env: OFFLINE_ENV })
  if (exitCode !== 0) throw new PackageError(`${config}: wrangler refused it\n${output}`)
  console.log(`${relative('.', config)}: would be deployed`)
}

function sizeLine({ directory, sizeBytes }: BuiltWorker): string {
  const mebibytes = (sizeBytes / MIB).toFixed(2).padStart(6)
  return `${basename(directory).padEnd(8)} ${mebibytes} MiB of ${MAX_UPLOAD_MIB}  ${relative('.', directory)}/`
}

async function runWrangler(args: readonly string[]): Promise<void> {
  await runForeground(process.execPath, [WRANGLER_PATH, ...args], { cwd: process.cwd(), env: process.env })
  if (process.exitCode !== undefined && process.exitCode !== 0) process.exit()
}

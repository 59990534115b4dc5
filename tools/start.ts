// `npm start`: builds the kernels, runs every Worker in workerd on this machine and says when they are ready.
// `npm start -- --model <package folder>` serves another package than the embedded one, out of local R2 when it is large.
// PORT chooses the port. Ctrl-C or a termination signal stops everything.
import { createServer } from 'node:net'
import { setTimeout as wait } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { buildWasm } from './build-wasm.ts'
import { WORKER_CONFIGS } from './build-workers.ts'
import { PERSIST_PATH, startDevServer, type DevServer } from './dev-server.ts'
import { checkPackage, PackageError } from './model/package-check.ts'

const HOST = '127.0.0.1'
const DEFAULT_PORT = 8787
const READY_TIMEOUT_MS = 120_000
const READY_POLL_MS = 100
/** As often as wrangler.toml's cron has it: the local runtime has no clock of its own for that. */
const HOUSEKEEPING_MS = 600_000

/** A refusal that the user can act on: printed without a stack trace. */
class StartError extends Error {}

try {
  await start(portFromEnv(process.env['PORT']), modelFromFlags())
} catch (error) {
  if (!(error instanceof StartError || error instanceof PackageError)) throw error
  console.error(`error: ${error.message}`)
  process.exitCode = 1
}

async function start(port: number, model: string | undefined): Promise<void> {
  await checkPortIsFree(port)
  const configs = model === undefined ? WORKER_CONFIGS : await prepareModel(model)
  await buildWasm()
  const server = startDevServer(HOST, port, { configs })
  const stopped = new AbortController()
  const stop = () => {
    stopped.abort()
    server.stop()
  }
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, stop)
  await announceWhenReady(server, port, stopped.signal)
  keepHouse(`http://${HOST}:${port}/cdn-cgi/local/scheduled`)
  await server.exited
  if (!stopped.signal.aborted) throw new StartError('the Workers ended by themselves')
}

/** Checks a package and puts it where the Workers find it. @returns their wrangler files */
async function prepareModel(folder: string): Promise<string[]> {
  // These load wrangler, which takes a second that a plain start has no use for.
  const { DEFAULT_BUCKET, homeOf, writeWorkerSettings } = await import('./model/worker-settings.ts')
  const { uploadLocally } = await import('./model/local-upload.ts')
  const pack = await checkPackage(folder)
  const home = homeOf(pack, DEFAULT_BUCKET)
  const configs = writeWorkerSettings(pack, home)
  const { modelId, manifest } = pack
  const place = home.source === 'assets' ? 'as static assets' : `out of the R2 of this machine (${home.bucket})`
  console.log(`serving ${modelId}, variant ${manifest.variant}, ${place}`)
  const settingsPath = configs.find((path) => path.endsWith('wrangler.text.json'))
  if (home.source === 'r2' && settingsPath !== undefined) {
    await uploadLocally(pack, home.configKey, { settingsPath, persistPath: PERSIST_PATH })
  }
  return configs
}

function modelFromFlags(): string | undefined {
  try {
    return parseArgs({ options: { model: { type: 'string' } } }).values.model
  } catch (error) {
    throw new StartError(error instanceof Error ? error.message : String(error))
  }
}

async function announceWhenReady(server: DevServer, port: number, stopped: AbortSignal): Promise<void> {
  const gaveUp = new AbortController()
  const whenOver = AbortSignal.any([stopped, gaveUp.signal, AbortSignal.timeout(READY_TIMEOUT_MS)])
  void server.exited.then(() => gaveUp.abort())
  const problem = await pollReadiness(`http://${HOST}:${port}/readyz`, whenOver)
  if (stopped.aborted) return
  if (problem !== undefined) {
    console.error(server.heldOutput())
    server.stop()
    throw new StartError(`the Workers did not become ready: ${problem}`)
  }
  server.showOutput()
  console.log(`ready on http://${HOST}:${port}`)
}

/** Runs the scheduled handler from time to time, for as long as the process lives. One that fails is made up for by the next. */
function keepHouse(url: string): void {
  setInterval(() => void fetch(url).catch(() => undefined), HOUSEKEEPING_MS).unref()
}

/** Undefined once `url` answers 200; what it said last when `whenOver` comes first. */
async function pollReadiness(url: string, whenOver: AbortSignal): Promise<string | undefined> {
  let problem = 'nothing answered on the port'
  while (!whenOver.aborted) {
    try {
      const response = await fetch(url, { signal: whenOver })
      if (response.ok) return undefined
      problem = `/readyz answered ${response.status} ${await response.text()}`
    } catch {
      // Not listening yet, or over: the loop's condition tells which.
    }
    await wait(READY_POLL_MS)
  }
  return problem
}

function portFromEnv(text: string | undefined): number {
  if (text === undefined || text === '') return DEFAULT_PORT
  const port = Number(text)
  if (Number.isInteger(port) && port >= 1 && port <= 65_535) return port
  throw new StartError(`PORT: expected a number from 1 to 65535, got ${JSON.stringify(text)}`)
}

async function checkPortIsFree(port: number): Promise<void> {
  const probe = createServer()
  await new Promise<void>((resolve, reject) => {
    probe.once('error', (error: NodeJS.ErrnoException) => {
      const reason =
        error.code === 'EADDRINUSE'
          ? 'is in use: stop what listens there, or choose another one, as in PORT=8788 npm start'
          : `cannot be used: ${error.message}`
      reject(new StartError(`port ${port} ${reason}`))
    })
    probe.listen(port, HOST, resolve)
  })
  await new Promise((resolve) => probe.close(resolve))
}

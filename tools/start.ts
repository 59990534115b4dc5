// `npm start`: builds the kernels, runs every Worker in workerd on this machine and says when they are ready.
// PORT chooses the port. Ctrl-C or a termination signal stops everything.
import { createServer } from 'node:net'
import { setTimeout as wait } from 'node:timers/promises'
import { buildWasm } from './build-wasm.ts'
import { startDevServer, type DevServer } from './dev-server.ts'

const HOST = '127.0.0.1'
const DEFAULT_PORT = 8787
const READY_TIMEOUT_MS = 120_000
const READY_POLL_MS = 100

/** A refusal that the user can act on: printed without a stack trace. */
class StartError extends Error {}

try {
  await start(portFromEnv(process.env['PORT']))
} catch (error) {
  if (!(error instanceof StartError)) throw error
  console.error(`error: ${error.message}`)
  process.exitCode = 1
}

async function start(port: number): Promise<void> {
  await checkPortIsFree(port)
  await buildWasm()
  const server = startDevServer(HOST, port)
  const stopped = new AbortController()
  const stop = () => {
    stopped.abort()
    server.stop()
  }
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, stop)
  await announceWhenReady(server, port, stopped.signal)
  await server.exited
  if (!stopped.signal.aborted) throw new StartError('the Workers ended by themselves')
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

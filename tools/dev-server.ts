// Runs all Workers in workerd on this machine through `wrangler dev`, without an account and without the network.
// Knows how to start and stop them and what they print; readiness and ports are the caller's business.
import { spawn, type ChildProcess } from 'node:child_process'
import { resolve } from 'node:path'
import { createInterface } from 'node:readline'
import { WORKER_CONFIGS } from './build-workers.ts'
import { OFFLINE_ENV, WRANGLER_PATH } from './wrangler.ts'

/** Where local R2 and the like keep their contents; wherever a configuration lies, all Workers share it. */
export const PERSIST_PATH = resolve('.wrangler/state')

const STOP_TIMEOUT_MS = 5_000

/** Wrangler's own line for each request: the Workers log one with more in it themselves. */
const WRANGLER_LINE = /^\[wrangler:info\]/

export interface DevServer {
  /** Fulfilled when wrangler has ended, by itself or through stop(). */
  exited: Promise<void>
  /** From here on, what the Workers print goes to standard output. */
  showOutput(): void
  /** What was printed before showOutput(). */
  heldOutput(): string
  /** Ends wrangler and its workerd processes. Calling it again changes nothing. */
  stop(): void
}

export interface DevServerOptions {
  /** wrangler files, the gateway's first; default: the committed ones. */
  configs?: readonly string[]
  /** Where local R2 and the like keep their contents. */
  persistPath?: string
}

export function startDevServer(
  host: string,
  port: number,
  { configs = WORKER_CONFIGS, persistPath = PERSIST_PATH }: DevServerOptions = {},
): DevServer {
  // The first configuration, the gateway's, gets the port; the others are reached through its service bindings.
  const configFlags = configs.flatMap((config) => ['-c', config])
  const listenFlags = ['--ip', host, '--port', String(port), '--inspector-port', '0', '--persist-to', persistPath]
  const child = spawn(
    process.execPath,
    [WRANGLER_PATH, 'dev', ...configFlags, ...listenFlags, '--show-interactive-dev-session=false'],
    {
      // A registry per port: else the Workers of two running clones, which have the same names, would find each other.
      env: { ...process.env, ...OFFLINE_ENV, WRANGLER_REGISTRY_PATH: resolve(`.wrangler/registry-${port}`) },
      stdio: ['ignore', 'pipe', 'pipe'],
    },
  )
  const held: string[] = []
  let isShown = false
  for (const stream of [child.stdout, child.stderr]) {
    createInterface({ input: stream }).on('line', (line) => {
      if (!isShown) held.push(line)
      else if (!WRANGLER_LINE.test(line)) console.log(line)
    })
  }
  return {
    exited: new Promise((settle) => child.once('close', () => settle())),
    showOutput: () => (isShown = true),
    heldOutput: () => held.join('\n'),
    stop: () => stopChild(child),
  }
}

/** Wrangler ends workerd when it is asked to end; only one that hangs is killed. */
function stopChild(child: ChildProcess): void {
  if (child.exitCode !== null || child.signalCode !== null || child.killed) return
  child.kill('SIGTERM')
  setTimeout(() => child.kill('SIGKILL'), STOP_TIMEOUT_MS).unref()
}

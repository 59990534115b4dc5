// GPU workers as real processes that a chaos run kills: each slot holds one, and gets a new one when it has died.

import { spawn, type ChildProcess } from 'node:child_process'
import { resolve } from 'node:path'
import { PYTHON_ENV, VENV_PYTHON } from '../../tools/python-env.ts'

export interface WorkerCrew {
  /** Ends the process in a slot without a word and starts another one in its place. */
  kill(slot: number): void
  /** Asks the process in a slot to end, as an operator would; another one follows. */
  drain(slot: number): void
  /** Ends them all, and waits until they are gone. */
  stop(): Promise<void>
  /** Last lines that each process printed, for a run that went wrong. */
  readonly output: readonly string[]
}

export interface CrewOptions {
  url: string
  token: string
  size: number
  leaseSeconds: number
}

export function startWorkerCrew(options: CrewOptions): WorkerCrew {
  const output: string[] = []
  const slots: (ChildProcess | undefined)[] = []
  let generation = 0
  let isStopping = false
  const start = (slot: number): void => {
    const id = `chaos-${slot}-${generation++}`
    const child = spawnWorker(id, options)
    for (const stream of [child.stdout, child.stderr]) {
      stream?.on('data', (text: Buffer) => output.push(`${id}: ${text.toString().trimEnd()}`))
    }
    child.once('close', () => {
      if (!isStopping) start(slot)
    })
    slots[slot] = child
  }
  for (let slot = 0; slot < options.size; slot += 1) start(slot)
  return {
    output,
    kill: (slot) => void slots[slot]?.kill('SIGKILL'),
    drain: (slot) => void slots[slot]?.kill('SIGTERM'),
    async stop() {
      isStopping = true
      await Promise.all(slots.map(endChild))
    },
  }
}

function spawnWorker(id: string, { url, token, leaseSeconds }: CrewOptions): ChildProcess {
  const flags = [
    '--url',
    url,
    '--id',
    id,
    '--lease-seconds',
    String(leaseSeconds),
    '--device',
    'cpu',
    '--max-jobs',
    '8',
  ]
  return spawn(VENV_PYTHON, ['-m', 'flava_gpu.worker', ...flags], {
    cwd: resolve(import.meta.dirname, '../..'),
    env: { ...process.env, ...PYTHON_ENV, FLAVA_WORKER_TOKEN: token },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
}

function endChild(child: ChildProcess | undefined): Promise<void> {
  if (child === undefined || child.exitCode !== null || child.signalCode !== null) return Promise.resolve()
  return new Promise((ended) => {
    child.once('close', () => ended())
    child.kill('SIGKILL')
  })
}

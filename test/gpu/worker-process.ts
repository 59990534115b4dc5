// The GPU worker as a process of its own, as an operator would start it, on the embedded checkpoint and the CPU.

import { spawn, type ChildProcess } from 'node:child_process'
import { resolve } from 'node:path'
import { PYTHON_ENV, VENV_PYTHON } from '../../tools/python-env.ts'
import type { RunningWorkers } from '../harness.ts'
import { post } from '../job-client.ts'

export interface GpuWorker {
  readonly id: string
  /** What it logged so far. */
  readonly output: readonly string[]
  /** Ends it without a word, and waits until it is gone. */
  kill(): Promise<void>
  /** SIGSTOP: as a machine that sleeps; it knows nothing of it. */
  freeze(): void
  thaw(): void
  /** SIGTERM, then its exit code. */
  stop(): Promise<number | null>
}

const ROOT = resolve(import.meta.dirname, '../..')

export async function mintToken(workers: RunningWorkers): Promise<string> {
  const { body } = await post(workers, '/v1/worker_tokens', { name: 'test' })
  return String(body.token)
}

/** Resolves when the worker has its model loaded and asks for work. */
export async function startGpuWorker(
  workers: RunningWorkers,
  token: string,
  { id, flags = [] }: { id: string; flags?: readonly string[] },
): Promise<GpuWorker> {
  const child = spawn(
    VENV_PYTHON,
    [
      '-m',
      'flava_gpu.worker',
      '--url',
      workers.url.origin,
      '--id',
      id,
      '--lease-seconds',
      '2',
      '--threads',
      '1',
      ...flags,
    ],
    { cwd: ROOT, env: { ...process.env, ...PYTHON_ENV, FLAVA_WORKER_TOKEN: token }, stdio: ['ignore', 'pipe', 'pipe'] },
  )
  const output: string[] = []
  const ended = new Promise<number | null>((end) => void child.once('close', (code) => end(code)))
  await new Promise<void>((ready, fail) => {
    for (const stream of [child.stdout, child.stderr]) {
      stream.on('data', (text: Buffer) => {
        output.push(text.toString())
        if (text.toString().includes(`worker ${id} on cpu`)) ready()
      })
    }
    void ended.then((code) => fail(new Error(`the worker ended with ${code}:\n${output.join('')}`)))
  })
  const end = async (signal: 'SIGKILL' | 'SIGTERM'): Promise<number | null> => {
    if (isRunning(child)) child.kill(signal)
    return ended
  }
  return {
    id,
    output,
    kill: async () => void (await end('SIGKILL')),
    freeze: () => void child.kill('SIGSTOP'),
    thaw: () => void child.kill('SIGCONT'),
    stop: () => end('SIGTERM'),
  }
}

function isRunning(child: ChildProcess): boolean {
  return child.exitCode === null && child.signalCode === null
}

// The service of a chaos run: all Workers in a workerd of their own, whose state outlives being killed.

import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { freePort } from '../free-port.ts'
import { startWorkers } from '../harness.ts'
import type { ChaosService } from './run-chaos.ts'

export async function startChaosService(): Promise<ChaosService & { stop(): Promise<void> }> {
  const persistDirectory = mkdtempSync(join(tmpdir(), 'flava-chaos-'))
  // Fixed for all starts: workers know the service by its address.
  const port = await freePort()
  const earlier = new Set(workerdProcesses())
  const start = () => startWorkers({ persistDirectory, port })
  let running = await start()
  return {
    url: running.url.href,
    async restart() {
      for (const pid of workerdProcesses()) if (!earlier.has(pid)) process.kill(pid, 'SIGKILL')
      await running.stop()
      running = await start()
    },
    async stop() {
      await running.stop()
      rmSync(persistDirectory, { recursive: true, force: true })
    },
  }
}

/** Ids of the workerd processes that this process has started. */
function workerdProcesses(): number[] {
  const table = execFileSync('ps', ['-e', '-o', 'pid=,ppid=,comm='], { encoding: 'utf8' })
  return table
    .split('\n')
    .map((line) => line.trim().split(/\s+/))
    .filter(([, parent, command]) => Number(parent) === process.pid && command?.startsWith('workerd') === true)
    .map(([pid]) => Number(pid))
}

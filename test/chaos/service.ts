// The service of a chaos run: all Workers in a workerd of their own, whose state outlives being killed.

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { freePort } from '../free-port.ts'
import { startWorkers } from '../harness.ts'
import { workerdProcesses } from '../workerd-processes.ts'
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

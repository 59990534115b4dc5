// Memory of the gateway while a long upload passes: an isolate has 128 MB, so it must not grow with the upload's length.

import { readFileSync } from 'node:fs'
import { setTimeout as wait } from 'node:timers/promises'
import { freePort } from '../../test/free-port.ts'
import { startWorkers } from '../../test/harness.ts'
import { workerdProcesses } from '../../test/workerd-processes.ts'
import { readIsolateHeap } from '../memory/isolate-heap.ts'
import type { QueueFigure } from './figure.ts'
import { readJsonAnswer } from './json-answer.ts'

const MIB = 1024 * 1024
const PART_BYTES = 50 * MIB
/** Uploads of 100 and of 500 MiB: what does not grow between them is flat. */
const PARTS = [2, 10]
const SAMPLE_EVERY_MS = 25

/**
 * In parts of 50 MiB, then their concatenation. `isolate` is the gateway's JavaScript heap and buffers at its fullest; `process`
 * is all of workerd, in which local R2 runs too, above what it held before.
 */
export async function measureUpload(): Promise<QueueFigure[]> {
  const before = new Set(workerdProcesses())
  const inspectorPort = await freePort()
  const workers = await startWorkers({ inspectorPort, withoutEncoders: true })
  const pid = workerdProcesses().find((one) => !before.has(one))
  if (pid === undefined) throw new Error('the workerd process was not found')
  try {
    // A small one first: what the first request loads is not what an upload costs.
    await upload(workers.url, 1, MIB)
    const figures: QueueFigure[] = []
    for (const parts of PARTS) {
      const idleMib = residentMib(pid)
      const over = new AbortController()
      const sampled = samplePeaks(inspectorPort, pid, over.signal)
      const startedAt = performance.now()
      await upload(workers.url, parts, PART_BYTES)
      const seconds = (performance.now() - startedAt) / 1000
      over.abort()
      const { isolateMib, processMib } = await sampled
      const uploadedMib = (parts * PART_BYTES) / MIB
      const values = { isolatePeakMib: isolateMib, processGrowthMib: processMib - idleMib, seconds }
      figures.push({ metric: `upload_${uploadedMib}_mib`, values })
    }
    return figures
  } finally {
    await workers.stop()
  }
}

async function samplePeaks(
  inspectorPort: number,
  pid: number,
  over: AbortSignal,
): Promise<{ isolateMib: number; processMib: number }> {
  let [isolateMib, processMib] = [0, 0]
  while (!over.aborted) {
    const { heapBytes, bufferBytes } = await readIsolateHeap(inspectorPort, 'flava-edge')
    isolateMib = Math.max(isolateMib, (heapBytes + bufferBytes) / MIB)
    processMib = Math.max(processMib, residentMib(pid))
    await wait(SAMPLE_EVERY_MS)
  }
  return { isolateMib, processMib }
}

async function upload(url: URL, parts: number, partBytes: number): Promise<void> {
  const json = { 'content-type': 'application/json' }
  const { id } = await readJsonAnswer(
    await fetch(new URL('/v1/uploads', url), {
      method: 'POST',
      headers: json,
      body: JSON.stringify({
        filename: 'long.bin',
        purpose: 'user_data',
        bytes: parts * partBytes,
        mime_type: 'application/octet-stream',
      }),
    }),
  )
  const partIds: unknown[] = []
  for (let part = 0; part < parts; part += 1) {
    const form = new FormData()
    form.set('data', new Blob([new Uint8Array(partBytes).fill(part + 1)]))
    const answer = await fetch(new URL(`/v1/uploads/${String(id)}/parts`, url), { method: 'POST', body: form })
    partIds.push((await readJsonAnswer(answer)).id)
  }
  const { status } = await readJsonAnswer(
    await fetch(new URL(`/v1/uploads/${String(id)}/complete`, url), {
      method: 'POST',
      headers: json,
      body: JSON.stringify({ part_ids: partIds }),
    }),
  )
  if (status !== 'completed') throw new Error(`the upload is ${String(status)}`)
}

function residentMib(pid: number): number {
  const [, kib = '0'] = /^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8')) ?? []
  return Number(kib) / 1024
}

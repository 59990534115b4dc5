// Memory of the gateway's process while a long upload passes: it must stay flat, since an isolate has 128 MB.

import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { startWorkers } from '../../test/harness.ts'
import { readJsonAnswer } from './json-answer.ts'
import type { QueueFigure } from './figure.ts'

const MIB = 1024 * 1024
const PART_BYTES = 50 * MIB
const PARTS = 10
const SAMPLE_EVERY_MS = 50

/** 500 MiB in ten parts, then their concatenation; without encoders, so that workerd holds little else. */
export async function measureUpload(): Promise<QueueFigure[]> {
  const before = new Set(workerdProcesses())
  const workers = await startWorkers({ withoutEncoders: true })
  const pid = workerdProcesses().find((one) => !before.has(one))
  if (pid === undefined) throw new Error('the workerd process was not found')
  try {
    // A small one first: what the first request loads is not what an upload costs.
    await upload(workers.url, 1, MIB)
    const idleMib = residentMib(pid)
    let peakMib = idleMib
    const sampling = setInterval(() => (peakMib = Math.max(peakMib, residentMib(pid))), SAMPLE_EVERY_MS)
    const startedAt = performance.now()
    await upload(workers.url, PARTS, PART_BYTES)
    const seconds = (performance.now() - startedAt) / 1000
    clearInterval(sampling)
    const uploadedMib = (PARTS * PART_BYTES) / MIB
    return [
      { metric: 'upload_memory', values: { uploadedMib, idleMib, peakMib, growthMib: peakMib - idleMib, seconds } },
    ]
  } finally {
    await workers.stop()
  }
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

function workerdProcesses(): number[] {
  const table = execFileSync('ps', ['-e', '-o', 'pid=,comm='], { encoding: 'utf8' })
  return [...table.matchAll(/^\s*(\d+) workerd/gm)].map(([, pid]) => Number(pid))
}

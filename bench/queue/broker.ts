// The broker's own cost: a worker that answers at once takes the place of a GPU, so that what is left is the queue.

import { readFileSync } from 'node:fs'
import { FakeWorker, mintWorkerToken, startFakeWorker, type Send } from '../../test/fake-worker.ts'
import { startWorkers } from '../../test/harness.ts'
import { timesFigure, type QueueFigure } from './figure.ts'

const ROUNDS = 200
const WARM_UP_ROUNDS = 30
const JOBS = 2_000
const SUBMITTERS = 16
const WORKERS = 4
const JOBS_A_LEASE = 16
const WAITING_WORKERS = 50
const PICTURE = readFileSync('examples/cat.png').toString('base64')
const MATCH = JSON.stringify({ model: 'flava-emoji', pairs: [{ image: PICTURE, text: 'a cat' }] })
const RESULT = { scores: [0.5] }

/** From POST to the lease at the worker, and to the result at the client. */
export function measureLatency(): Promise<QueueFigure[]> {
  return withService(async (url, send) => {
    const worker = await startFakeWorker(send)
    const [leaseMs, resultMs]: [number[], number[]] = [[], []]
    for (let round = 0; round < WARM_UP_ROUNDS + ROUNDS; round += 1) {
      const leased = worker.leaseOne().then((lease) => ({ lease, at: performance.now() }))
      const sentAt = performance.now()
      const answered = postMatch(url, 'wait=20').then(() => performance.now())
      const { lease, at } = await leased
      await worker.complete(lease, RESULT)
      const endedAt = await answered
      if (round < WARM_UP_ROUNDS) continue
      leaseMs.push(at - sentAt)
      resultMs.push(endedAt - sentAt)
    }
    return [timesFigure('post_to_lease', leaseMs), timesFigure('post_to_result', resultMs)]
  })
}

/** Jobs a second from POST to completion, with several clients and workers at once. */
export function measureThroughput(): Promise<QueueFigure[]> {
  return withService(async (url, send) => {
    const workers = await Promise.all(
      Array.from({ length: WORKERS }, (_, index) => startFakeWorker(send, { id: `bench-${index}` })),
    )
    let done = 0
    const startedAt = performance.now()
    const work = workers.map(async (worker) => {
      while (done < JOBS) {
        for (const lease of await worker.lease({ maxJobs: JOBS_A_LEASE, waitMs: 500 })) {
          await worker.complete(lease, RESULT)
          done += 1
        }
      }
    })
    const waiting = Array.from({ length: JOBS }).keys()
    const submit = Array.from({ length: SUBMITTERS }, async () => {
      for (const _ of waiting) await postMatch(url, 'respond-async')
    })
    await Promise.all([...submit, ...work])
    const seconds = (performance.now() - startedAt) / 1000
    return [{ metric: 'jobs_per_second', values: { perSecond: JOBS / seconds, jobs: JOBS, workers: WORKERS } }]
  })
}

/** From POST to the lease while many workers wait for the same work. */
export function measureWaiters(): Promise<QueueFigure[]> {
  return withService(async (url, send) => {
    const token = await mintWorkerToken(send)
    const leaseMs: number[] = []
    const sentAt = new Map<string, number>()
    const arrivals = new Map<string, number>()
    const over = new AbortController()
    const crew = Array.from({ length: WAITING_WORKERS }, async (_, index) => {
      const worker = new FakeWorker(send, token, { id: `bench-${index}` })
      while (!over.signal.aborted) {
        for (const lease of await worker.lease({ waitMs: 2_000 })) {
          arrivals.set(lease.job, performance.now())
          await worker.complete(lease, RESULT)
        }
      }
    })
    for (let round = 0; round < WARM_UP_ROUNDS + ROUNDS; round += 1) {
      const at = performance.now()
      const job = await postMatch(url, 'wait=20')
      if (round >= WARM_UP_ROUNDS) sentAt.set(job, at)
    }
    over.abort()
    await Promise.all(crew)
    for (const [job, at] of sentAt) leaseMs.push((arrivals.get(job) ?? Number.NaN) - at)
    return [timesFigure(`post_to_lease_${WAITING_WORKERS}_waiting`, leaseMs)]
  })
}

async function withService(measure: (url: URL, send: Send) => Promise<QueueFigure[]>): Promise<QueueFigure[]> {
  const workers = await startWorkers()
  try {
    const send: Send = (path, init) => fetch(new URL(path, workers.url), { ...init, body: init.body ?? null })
    return await measure(workers.url, send)
  } finally {
    await workers.stop()
  }
}

/** @returns the job's id */
async function postMatch(url: URL, prefer: string): Promise<string> {
  const response = await fetch(new URL('/v1/multimodal/match', url), {
    method: 'POST',
    headers: { 'content-type': 'application/json', prefer },
    body: MATCH,
  })
  const answer: { id?: string; x_flava?: { job: string } } = await response.json()
  const job = answer.x_flava?.job ?? answer.id
  if (job === undefined) throw new Error(`POST /v1/multimodal/match: ${response.status} ${JSON.stringify(answer)}`)
  return job
}

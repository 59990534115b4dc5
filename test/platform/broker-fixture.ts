// A broker in workerd for tests: its clock can be moved, its tables read, and it can be killed and started again.

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Log, LogLevel, Miniflare } from 'miniflare'
import { z } from 'zod'
import type { NewJob } from '../../src/jobs/job.ts'
import type { JobKind } from '../../src/jobs/kinds.ts'
import type { JobBroker, WorkerToken } from '../../src/jobs/ports.ts'
import type { CompleteRequest, FailRequest, HeartbeatRequest, Lease } from '../../src/jobs/worker-protocol.ts'
import { idsOf } from '../../src/platform/job-queue.ts'
import type { RpcResult } from '../../src/services/rpc-result.ts'
import { connectBroker } from '../../src/workers/broker-client.ts'
import { bundleWorker } from './bundle-worker.ts'

export interface TestBroker {
  broker: JobBroker
  /** Moves the broker's clock; what is due by then happens. */
  advance(ms: number): Promise<void>
  clock(): Promise<number>
  rows(query: string): Promise<Record<string, unknown>[]>
  /** Puts another database in the place of its own and starts anew. */
  restartWith(statements: string): Promise<void>
  /** Ids that came out of the Queue. */
  delivered(): Promise<string[]>
  /** SIGKILL, then a new process with the same state. */
  killAndRestart(): Promise<void>
  stop(): Promise<void>
}

const AnswerSchema = z.object({ answer: z.unknown().optional() })
const RowsSchema = z.array(z.record(z.string(), z.unknown()))

export const PROJECT = 'acme'
export const TOKEN = 'wt_000000000000000000000001'
export const MODEL = 'flava-emoji'
const CLASS = 'TestBrokerObject'

let script: Promise<string> | undefined

/** @param vars of the gateway, as JOB_RETENTION_DAYS */
export async function startBroker(vars: Record<string, string> = {}): Promise<TestBroker> {
  script ??= bundleWorker('broker-worker')
  const contents = await script
  const directory = mkdtempSync(join(tmpdir(), 'flava-broker-'))
  let miniflare = createMiniflare(contents, directory, vars)
  const ask = async (name: string, ...args: unknown[]): Promise<unknown> => {
    const response = await fetch(await miniflare.ready, { method: 'POST', body: JSON.stringify({ name, args }) })
    if (!response.ok) throw new Error(await response.text())
    return AnswerSchema.parse(await response.json()).answer
  }
  const broker = connectBroker({
    // What the object answers, as its class has it.
    getByName: () => ({ call: async (method, args) => (await ask('call', method, args)) as RpcResult<unknown> }),
  })
  const restart = async (): Promise<void> => {
    // Miniflare ends workerd with SIGKILL, so nothing is tidied up.
    await miniflare.dispose()
    miniflare = createMiniflare(contents, directory, vars)
    await miniflare.ready
  }
  await broker.createWorkerToken(workerToken(TOKEN), '0'.repeat(64))
  return {
    broker,
    advance: async (ms) => void (await ask('advance', ms)),
    clock: async () => z.number().parse(await ask('clock')),
    rows: async (query) => RowsSchema.parse(await ask('rows', query)),
    async delivered() {
      const bucket = await miniflare.getR2Bucket('DELIVERED', 'test-broker')
      const { objects } = await bucket.list()
      const bodies = await Promise.all(objects.map(async ({ key }) => (await bucket.get(key))?.text()))
      return idsOf(bodies.map((text): unknown => JSON.parse(text ?? 'null')))
    },
    killAndRestart: restart,
    async restartWith(statements) {
      await ask('load', statements)
      await restart()
    },
    async stop() {
      await miniflare.dispose()
      rmSync(directory, { recursive: true })
    },
  }
}

let made = 0

/** A job of a kind, with an id of its own and whatever else the test asks. */
export function newJob(kind: JobKind = 'batch', more: Partial<NewJob> = {}): NewJob {
  const prefix = kind === 'batch' ? 'batch_' : kind === 'fine_tuning' ? 'ftjob-' : 'job_'
  made += 1
  return {
    id: prefix + made.toString(16).padStart(24, '0'),
    project: PROJECT,
    kind,
    model: { id: MODEL, base: MODEL, objects: [] },
    head: null,
    input: { inline: '{}' },
    objects: [],
    request: { metadata: { made } },
    minMemoryMib: 1,
    maxRuntimeSeconds: 3600,
    deadlineMs: null,
    ...more,
  }
}

/** Submits a job and, unless it is interactive, delivers its Queue message. @returns its id */
export async function queueJob(broker: JobBroker, job: NewJob = newJob()): Promise<string> {
  await broker.submit(job, { idempotencyKey: null, gpuSecondsBudget: null })
  await broker.markQueued([job.id])
  return job.id
}

export interface LeaseOptions {
  kinds?: JobKind[]
  maxJobs?: number
  leaseMs?: number
  waitMs?: number
  memoryMib?: number
  models?: { id: string; heads: 'itm'[]; is_loaded: boolean }[]
  token?: string
}

export async function lease(broker: JobBroker, worker: string, options: LeaseOptions = {}): Promise<Lease[]> {
  const { kinds = ['batch'], maxJobs = 1, leaseMs = 30_000, waitMs = 0, memoryMib = 1000, token = TOKEN } = options
  const { models = [{ id: MODEL, heads: [], is_loaded: true }] } = options
  const description = {
    id: worker,
    version: '1',
    device: 'cpu' as const,
    gpus: 0,
    memory_mib: memoryMib,
    kinds,
    models,
  }
  return broker.lease({ worker: description, max_jobs: maxJobs, lease_ms: leaseMs, wait_ms: waitMs }, token)
}

/** One lease, where there is one. */
export async function leaseOne(broker: JobBroker, worker: string, options: LeaseOptions = {}): Promise<Lease> {
  const [first] = await lease(broker, worker, options)
  if (first === undefined) throw new Error('expected a job to lease, got none')
  return first
}

/** What names a lease. */
type HeldLease = Pick<Lease, 'job' | 'fence'>
type Beat = Partial<HeartbeatRequest['jobs'][number]>

export async function beat(broker: JobBroker, worker: string, { job, fence }: HeldLease, more: Beat = {}) {
  const { checkpoint, ...facts } = more
  const one = { job, fence, sequence: 1, gpu_seconds: 0, ...facts }
  const { jobs } = await broker.heartbeat({ worker, lease_ms: 30_000, jobs: [one] }, TOKEN)
  if (checkpoint !== undefined) await broker.addCheckpoint({ worker, tokenId: TOKEN, job, fence }, checkpoint)
  return jobs[0]
}

export function complete(
  broker: JobBroker,
  worker: string,
  { job, fence }: HeldLease,
  more: Partial<CompleteRequest> = {},
): Promise<{ isFirst: boolean }> {
  const usage = { gpu_seconds: 0, tokens: 0, images: 0 }
  return broker.complete({ worker, job, fence, result: { by: worker }, outputs: [], usage, ...more }, TOKEN, [], null)
}

export function fail(broker: JobBroker, worker: string, { job, fence }: Lease, more: Partial<FailRequest> = {}) {
  const error = { code: 'boom', message: 'it broke', param: null, line: null }
  return broker.fail({ worker, job, fence, outcome: 'retry', error, checkpoint: null, gpu_seconds: 0, ...more }, TOKEN)
}

/** The code that a call is refused with. */
export async function codeOf(call: Promise<unknown>): Promise<string> {
  try {
    await call
  } catch (error) {
    if (error instanceof Error && 'code' in error) return String(error.code)
    throw error
  }
  throw new Error('expected the call to be refused, it was not')
}

export function workerToken(id: string, more: Partial<WorkerToken> = {}): WorkerToken {
  const never = { expiresAtMs: null, revokedAtMs: null, lastUsedMs: null }
  return { id, name: 'test', kinds: null, createdAtMs: 0, ...never, ...more }
}

function createMiniflare(contents: string, directory: string, vars: Record<string, string>): Miniflare {
  return new Miniflare({
    host: '127.0.0.1',
    port: 0,
    cf: false,
    log: new Log(LogLevel.NONE),
    resourcePersistencePath: directory,
    workers: [
      {
        config: {
          name: 'test-broker',
          compatibilityDate: '2026-10-01',
          manifest: {
            mainModule: 'broker-worker.js',
            modulesRoot: '/',
            modules: { 'broker-worker.js': { type: 'esm', contents } },
          },
          env: {
            JOB_BROKER: { type: 'durable-object', worker: 'test-broker', exportName: CLASS },
            JOB_QUEUE: { type: 'queue', name: 'jobs' },
            DELIVERED: { type: 'r2', name: 'delivered' },
            ...Object.fromEntries(Object.entries(vars).map(([key, value]) => [key, { type: 'text', value }])),
          },
          exports: { [CLASS]: { type: 'durable-object', storage: 'sqlite' } },
          triggers: [{ type: 'queue', name: 'jobs', maxBatchTimeout: 0 }],
        },
      },
    ],
  })
}

// A GPU worker without a GPU: speaks the worker protocol over HTTP, does what its test tells it to, and checks every
// answer against the contract.

import { createHash } from 'node:crypto'
import type { z } from 'zod'
import { JOB_KINDS, type Head, type JobKind } from '../src/jobs/kinds.ts'
import {
  CompleteResponseSchema,
  CONTRACT_HEADER,
  CONTRACT_VERSION,
  FailResponseSchema,
  HeartbeatResponseSchema,
  LeaseResponseSchema,
  RESULT_OBJECT,
  UrlsResponseSchema,
  type CompleteRequest,
  type FailRequest,
  type HeartbeatRequest,
  type HeartbeatResponse,
  type JobObject,
  type Lease,
  type UrlsResponse,
  type WorkerDescription,
} from '../src/jobs/worker-protocol.ts'

/** Sends one request to the gateway, or to the place that a presigned URL names. */
export type Send = (
  path: string,
  init: { method: string; headers: Record<string, string>; body?: string | Uint8Array },
) => Promise<{ status: number; headers: { get(name: string): string | null }; arrayBuffer(): Promise<ArrayBuffer> }>

/** Over a socket, as workers do. The harness' own fetch would not do: presigned URLs hold for the host that they name. */
export function sendTo(gateway: URL): Send {
  return (path, { method, headers, body }) =>
    fetch(new URL(path, gateway), { method, headers, ...(body === undefined ? {} : { body: Buffer.from(body) }) })
}

export interface FakeWorkerOptions {
  id?: string
  kinds?: readonly JobKind[]
  models?: { id: string; heads: Head[]; is_loaded: boolean }[]
  memoryMib?: number
  leaseMs?: number
  /** Told in the contract header. */
  contract?: string
}

/** What a call was refused with. */
export class WorkerCallError extends Error {
  readonly status: number
  readonly code: string

  constructor(status: number, body: string) {
    super(`${status}: ${body}`)
    this.status = status
    this.code = codeOf(body)
  }
}

type JobUsage = CompleteRequest['usage']
type HeartbeatFacts = Omit<HeartbeatRequest['jobs'][number], 'job' | 'fence' | 'sequence' | 'gpu_seconds'> & {
  gpu_seconds?: number
}
type FailFacts = Partial<Pick<FailRequest, 'error' | 'checkpoint' | 'gpu_seconds'>>

const NO_USAGE: JobUsage = { gpu_seconds: 0.5, tokens: 0, images: 0 }
export const ALL_HEADS: Head[] = ['contrastive', 'itm', 'mmm_text', 'mmm_image', 'mlm', 'mim']

export class FakeWorker {
  readonly description: WorkerDescription
  readonly #send: Send
  readonly #token: string
  readonly #leaseMs: number
  readonly #contract: string
  readonly #sequences = new Map<string, number>()

  constructor(send: Send, token: string, options: FakeWorkerOptions = {}) {
    this.#send = send
    this.#token = token
    this.#leaseMs = options.leaseMs ?? 30_000
    this.#contract = options.contract ?? String(CONTRACT_VERSION)
    this.description = {
      id: options.id ?? 'fake-1',
      version: 'test',
      device: 'cpu',
      gpus: 0,
      memory_mib: options.memoryMib ?? 16_384,
      kinds: [...(options.kinds ?? JOB_KINDS)],
      models: options.models ?? [{ id: 'flava-emoji', heads: ALL_HEADS, is_loaded: true }],
    }
  }

  async lease({ maxJobs = 1, waitMs = 10_000 } = {}): Promise<Lease[]> {
    const request = { worker: this.description, max_jobs: maxJobs, lease_ms: this.#leaseMs, wait_ms: waitMs }
    return (await this.#call('lease', request, LeaseResponseSchema)).leases
  }

  /** One lease, which must come. */
  async leaseOne(waitMs = 10_000): Promise<Lease> {
    const [lease] = await this.lease({ waitMs })
    if (lease === undefined) throw new Error('no job came to lease')
    return lease
  }

  async heartbeat(lease: Lease, facts: HeartbeatFacts = {}): Promise<HeartbeatResponse['jobs'][number]> {
    const { jobs } = await this.heartbeatAll([{ lease, facts }])
    const [answer] = jobs
    if (answer === undefined) throw new Error('the heartbeat was answered without its job')
    return answer
  }

  heartbeatAll(beats: readonly { lease: Lease; facts?: HeartbeatFacts }[]): Promise<HeartbeatResponse> {
    const jobs = beats.map(({ lease, facts = {} }) => {
      const place = `${lease.job} ${lease.fence}`
      const sequence = (this.#sequences.get(place) ?? 0) + 1
      this.#sequences.set(place, sequence)
      return { job: lease.job, fence: lease.fence, sequence, gpu_seconds: 0, ...facts }
    })
    const request: HeartbeatRequest = { worker: this.description.id, lease_ms: this.#leaseMs, jobs }
    return this.#call('heartbeat', request, HeartbeatResponseSchema)
  }

  /** Ends a lease with a result; `outputs` must lie in the bucket already (see write). */
  complete(
    { job, fence }: Pick<Lease, 'job' | 'fence'>,
    result: unknown,
    { outputs = [], usage = NO_USAGE }: { outputs?: JobObject[]; usage?: JobUsage } = {},
  ): Promise<{ is_first: boolean }> {
    const request: CompleteRequest = { worker: this.description.id, job, fence, result, outputs, usage }
    return this.#call('complete', request, CompleteResponseSchema)
  }

  /** Ends a lease with a result that travels as an object. */
  async completeLong(lease: Lease, result: unknown, usage: JobUsage = NO_USAGE): Promise<{ is_first: boolean }> {
    const outputs = await this.write(lease, { [RESULT_OBJECT]: JSON.stringify(result) })
    return this.complete(lease, null, { outputs, usage })
  }

  fail(
    { job, fence }: Pick<Lease, 'job' | 'fence'>,
    outcome: FailRequest['outcome'],
    { error = null, checkpoint = null, gpu_seconds = 0 }: FailFacts = {},
  ): Promise<{ state: string }> {
    const request: FailRequest = { worker: this.description.id, job, fence, outcome, error, checkpoint, gpu_seconds }
    return this.#call('fail', request, FailResponseSchema)
  }

  urls(
    { job, fence }: Pick<Lease, 'job' | 'fence'>,
    { reads = [], writes = [] }: { reads?: string[]; writes?: JobObject[] },
  ): Promise<UrlsResponse> {
    return this.#call('urls', { worker: this.description.id, job, fence, reads, writes }, UrlsResponseSchema)
  }

  /** The bytes of one of the job's objects, through a presigned URL, held to their hash. */
  async read(lease: Lease, name: string): Promise<Buffer> {
    const { reads } = await this.urls(lease, { reads: [name] })
    const [read] = reads
    if (read === undefined) throw new Error(`no URL came for ${name}`)
    const response = await this.#send(read.url, { method: 'GET', headers: {} })
    if (response.status !== 200) throw new Error(`GET ${name}: ${response.status}`)
    const bytes = Buffer.from(await response.arrayBuffer())
    if (describe(name, bytes).sha256 !== read.sha256) throw new Error(`${name}: the hash does not hold`)
    return bytes
  }

  /** Puts objects into the bucket through presigned URLs, and describes them for heartbeat or complete. */
  async write(lease: Lease, contents: Record<string, string | Uint8Array>): Promise<JobObject[]> {
    const bodies = Object.entries(contents).map(([name, content]) => ({ name, bytes: Buffer.from(content) }))
    const objects = bodies.map(({ name, bytes }) => describe(name, bytes))
    const { writes } = await this.urls(lease, { writes: objects })
    for (const { name, url } of writes) {
      const body = bodies.find((one) => one.name === name)?.bytes
      if (body === undefined) throw new Error(`a URL came for ${name}, which was not asked for`)
      const response = await this.#send(url, { method: 'PUT', headers: {}, body })
      if (response.status !== 200) throw new Error(`PUT ${name}: ${response.status}`)
    }
    return objects
  }

  /** The input of a lease, inline or through its object. */
  async input(lease: Lease): Promise<unknown> {
    if ('inline' in lease.input) return lease.input.inline
    const text = (await this.read(lease, lease.input.object.name)).toString('utf8')
    const input: unknown = JSON.parse(text)
    return input
  }

  async #call<T>(route: string, body: unknown, schema: z.ZodType<T>): Promise<T> {
    const response = await this.#send(`/v1/worker/${route}`, {
      method: 'POST',
      headers: {
        'content-type': 'application/json',
        authorization: `Bearer ${this.#token}`,
        [CONTRACT_HEADER]: this.#contract,
      },
      body: JSON.stringify(body),
    })
    const text = Buffer.from(await response.arrayBuffer()).toString('utf8')
    if (response.status !== 200) throw new WorkerCallError(response.status, text)
    return schema.parse(JSON.parse(text))
  }
}

/** Mints a worker token, as `npm run gpu` does on loopback. */
export async function mintWorkerToken(
  send: Send,
  { headers = {}, ...body }: { name?: string; kinds?: JobKind[]; headers?: Record<string, string> } = {},
): Promise<string> {
  const response = await send('/v1/worker_tokens', {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...headers },
    body: JSON.stringify({ name: 'test', ...body }),
  })
  const text = Buffer.from(await response.arrayBuffer()).toString('utf8')
  const answer: unknown = JSON.parse(text)
  if (typeof answer === 'object' && answer !== null && 'token' in answer && typeof answer.token === 'string') {
    return answer.token
  }
  throw new Error(`POST /v1/worker_tokens: ${response.status} ${text}`)
}

/** A worker with a token of its own. */
export async function startFakeWorker(send: Send, options: FakeWorkerOptions = {}): Promise<FakeWorker> {
  return new FakeWorker(send, await mintWorkerToken(send), options)
}

export function describe(name: string, content: Uint8Array): JobObject {
  return { name, bytes: content.byteLength, sha256: createHash('sha256').update(content).digest('hex') }
}

function codeOf(body: string): string {
  try {
    const parsed: { error?: { code?: string } } = JSON.parse(body)
    return parsed.error?.code ?? 'none'
  } catch {
    return 'none'
  }
}

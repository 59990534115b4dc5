// Runs the four Workers, as they would be deployed, in one workerd: bundles from dist/, settings from the wrangler
// files, the model package from its own folder or from a bucket of local R2. Tests talk to them over HTTP and read their
// log lines.

import { readFileSync, readdirSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { Log, LogLevel, Miniflare, type MiniflareOptions, type Response as OutsideResponse } from 'miniflare'
import { unstable_readConfig as readConfig } from 'wrangler'
import type { JobBroker } from '../src/jobs/ports.ts'
import { connectBroker, type BrokerStub } from '../src/workers/broker-client.ts'
import { buildWorkers, type BuiltWorker } from '../tools/build-workers.ts'

export type WorkerName = 'flava-edge' | 'flava-edge-pixels' | 'flava-edge-text' | 'flava-edge-image'

export interface WorkersOptions {
  /** Added to, or instead of, the wrangler file's own. */
  vars?: Partial<Record<WorkerName, Record<string, string>>>
  /** Answers what the gateway fetches from outside; without it every such fetch fails. */
  outside?: (url: URL) => OutsideResponse | Promise<OutsideResponse>
  /** Model package folder instead of the wrangler files' own, for one encoder Worker or both. */
  modelDirectory?: Partial<Record<WorkerName, string>>
  /** Where the runtime's inspector listens, which tells how large the isolates' heaps are; default: nowhere. */
  inspectorPort?: number
  /** Model package out of a bucket instead, for both: see modelBucket of the running Workers. */
  r2?: {
    /** Key of the package's config.json. */
    configKey: string
    /** Keeps the bucket's files in this folder; default: in a temporary one. */
    directory?: string
  }
  /** Keeps jobs and buckets in this folder, so that a second start goes on where the first one stopped or was killed. */
  persistDirectory?: string
  /** Where the gateway listens; default: any free port. */
  port?: number
  /** Leaves the encoders out, for tests that need only jobs: a start takes a fraction of the time. */
  withoutEncoders?: boolean
}

export type ModelBucket = Awaited<ReturnType<Miniflare['getR2Bucket']>>

export type HttpResponse = Awaited<ReturnType<Miniflare['dispatchFetch']>>
type HttpInit = Parameters<Miniflare['dispatchFetch']>[1]

export interface RunningWorkers {
  /** Where the gateway listens, for clients that need a socket. */
  readonly url: URL
  /** Sends a request to the gateway; a path is taken on http://127.0.0.1. */
  fetch(pathOrUrl: string, init?: HttpInit): Promise<HttpResponse>
  /** JSON lines that the Workers logged so far. */
  readonly logLines: readonly Record<string, unknown>[]
  /** The first line that matches, once it is there. */
  waitForLog(matches: (line: Record<string, unknown>) => boolean): Promise<Record<string, unknown>>
  /** The bucket that the encoder Workers read, with the option `r2`. */
  modelBucket(): Promise<ModelBucket>
  /** The bucket where files, uploads and what jobs write lie. */
  filesBucket(): Promise<ModelBucket>
  /** The broker itself, past the HTTP service. */
  broker(): Promise<JobBroker>
  /** Sends to the Queue what the gateway would. */
  sendToQueue(...ids: readonly string[]): Promise<void>
  /** Runs the scheduled handler and resolves when it is done. */
  runScheduled(): Promise<void>
  stop(): Promise<void>
}

type MiniflareWorker = Extract<MiniflareOptions, { workers: unknown }>['workers'][number]
/** What of a wrangler file the jobs need. */
interface JobSettings {
  durable_objects: { bindings: { name: string; class_name: string }[] }
  queues: {
    producers?: { binding: string; queue: string }[]
    consumers?: {
      queue: string
      max_batch_size?: number
      max_batch_timeout?: number
      max_retries?: number
      dead_letter_queue?: string
    }[]
  }
  r2_buckets: {
    binding: string
    bucket_name: string
    local_dev?: { experimental_s3_credentials?: { accessKeyId: string; secretAccessKey: string } }
  }[]
}
interface ServiceBinding {
  binding: string
  service: string
  entrypoint?: string
}

type Manifest = NonNullable<MiniflareWorker['config']['manifest']>

export async function startWorkers(options: WorkersOptions = {}): Promise<RunningWorkers> {
  const built = await buildWorkers()
  const logLines: Record<string, unknown>[] = []
  const waiting = new Set<() => void>()
  const directory = options.persistDirectory ?? options.r2?.directory
  const miniflare = new Miniflare({
    host: '127.0.0.1',
    port: options.port ?? 0,
    cf: false,
    logRequests: false,
    ...(options.inspectorPort === undefined ? {} : { inspectorPort: options.inspectorPort }),
    ...(directory === undefined ? {} : { resourcePersistencePath: directory }),
    log: new Log(LogLevel.NONE),
    handleStructuredLogs: ({ message }) => {
      const line = parseLine(message)
      if (line === undefined) return
      logLines.push(line)
      for (const look of waiting) look()
    },
    workers: built
      .filter((_, index) => index === 0 || options.withoutEncoders !== true)
      .map((worker) => toMiniflareWorker(worker, options)),
  })
  return {
    url: await miniflare.ready,
    logLines,
    fetch: (pathOrUrl, init) => miniflare.dispatchFetch(new URL(pathOrUrl, 'http://127.0.0.1').href, init),
    waitForLog: (matches) =>
      new Promise((found) => {
        const look = (): void => {
          const line = logLines.find(matches)
          if (line === undefined) return
          waiting.delete(look)
          found(line)
        }
        waiting.add(look)
        look()
      }),
    modelBucket: () => miniflare.getR2Bucket('WEIGHTS', 'flava-edge-text'),
    filesBucket: () => miniflare.getR2Bucket('FILES', 'flava-edge'),
    async broker() {
      const namespace = await miniflare.getDurableObjectNamespace('JOB_BROKER', 'flava-edge')
      return connectBroker({ getByName: (name) => brokerStub(namespace.get(namespace.idFromName(name))) })
    },
    async sendToQueue(...ids) {
      const queue = await miniflare.getQueueProducer<{ job: string }>('JOB_QUEUE', 'flava-edge')
      await queue.sendBatch(ids.map((job) => ({ body: { job } })))
    },
    async runScheduled() {
      const gateway = await miniflare.getWorker('flava-edge')
      await gateway.scheduled({ cron: '* * * * *' })
    },
    stop: () => miniflare.dispose(),
  }
}

function toMiniflareWorker(built: BuiltWorker, options: WorkersOptions): MiniflareWorker {
  const settings = readConfig({ config: built.configPath }, { hideWarnings: true })
  const jobs: JobSettings = settings
  const { name, compatibility_date: compatibilityDate, compatibility_flags: compatibilityFlags, assets } = settings
  if (!isWorkerName(name) || compatibilityDate === undefined) throw new Error(`${built.configPath}: no Worker of ours`)
  const bucket = assets === undefined ? undefined : options.r2
  const source = bucket === undefined ? {} : { MODEL_SOURCE: 'r2', MODEL_CONFIG_KEY: bucket.configKey }
  const vars = { ...settings.vars, ...source, ...options.vars?.[name] }
  const services: readonly ServiceBinding[] = options.withoutEncoders === true ? [] : (settings.services ?? [])
  const { outside = () => Promise.reject(new Error('the network is not there')) } = options
  return {
    config: {
      name,
      compatibilityDate,
      compatibilityFlags,
      manifest: readModules(built),
      env: {
        ...Object.fromEntries(
          Object.entries(vars).map(([key, value]) => [key, { type: 'text', value: String(value) }]),
        ),
        ...Object.fromEntries(
          services.map(({ binding, service, entrypoint }) => [
            binding,
            { type: 'worker', worker: service, ...(entrypoint === undefined ? {} : { exportName: entrypoint }) },
          ]),
        ),
        ...(assets?.binding === undefined || bucket ? {} : { [assets.binding]: { type: 'assets' } }),
        ...(bucket === undefined ? {} : { WEIGHTS: { type: 'r2', name: 'flava-edge-models' } }),
        ...storageBindings(name, jobs),
      },
      exports: Object.fromEntries(
        jobs.durable_objects.bindings.map(({ class_name }) => [
          class_name,
          { type: 'durable-object', storage: 'sqlite' },
        ]),
      ),
      triggers: (jobs.queues.consumers ?? []).map((consumer) => ({
        type: 'queue',
        name: consumer.queue,
        ...(consumer.max_batch_size === undefined ? {} : { maxBatchSize: consumer.max_batch_size }),
        ...(consumer.max_batch_timeout === undefined ? {} : { maxBatchTimeout: consumer.max_batch_timeout }),
        ...(consumer.max_retries === undefined ? {} : { maxRetries: consumer.max_retries }),
        ...(consumer.dead_letter_queue === undefined ? {} : { deadLetterQueue: consumer.dead_letter_queue }),
      })),
      ...(assets?.directory === undefined || bucket
        ? {}
        : {
            assets: {
              directory: options.modelDirectory?.[name] ?? resolve(dirname(built.configPath), assets.directory),
              runWorkerFirst: true,
            },
          }),
    },
    dev: {
      outboundService: { type: 'fetcher', handler: (request) => outside(new URL(request.url)) },
    },
  }
}

/** The wrangler file's Durable Objects, queues and buckets, as miniflare names them. */
function storageBindings(worker: string, settings: JobSettings): NonNullable<MiniflareWorker['config']['env']> {
  const objects = settings.durable_objects.bindings.map(
    ({ name, class_name }) => [name, { type: 'durable-object', worker, exportName: class_name }] as const,
  )
  const queues = (settings.queues.producers ?? []).map(
    ({ binding, queue }) => [binding, { type: 'queue', name: queue }] as const,
  )
  const buckets = settings.r2_buckets.map(({ binding, bucket_name, local_dev }) => {
    const experimentalS3Credentials = local_dev?.experimental_s3_credentials
    const dev = experimentalS3Credentials === undefined ? {} : { dev: { experimentalS3Credentials } }
    return [binding, { type: 'r2', name: bucket_name, ...dev }] as const
  })
  return Object.fromEntries([...objects, ...queues, ...buckets])
}

/** What a stub out of miniflare answers is known to its class alone. */
function brokerStub(stub: object): BrokerStub {
  return stub as BrokerStub
}

function readModules({ directory, mainModule }: BuiltWorker): Manifest {
  const modules: Manifest['modules'] = {}
  for (const file of readdirSync(directory)) {
    if (file.endsWith('.js')) modules[file] = { type: 'esm', contents: readFileSync(join(directory, file), 'utf8') }
    if (file.endsWith('.wasm'))
      modules[file] = { type: 'wasm', contents: new Uint8Array(readFileSync(join(directory, file))) }
  }
  return { mainModule, modulesRoot: directory, modules }
}

function isWorkerName(name: string | undefined): name is WorkerName {
  return (
    name === 'flava-edge' || name === 'flava-edge-pixels' || name === 'flava-edge-text' || name === 'flava-edge-image'
  )
}

function parseLine(message: string): Record<string, unknown> | undefined {
  try {
    const line: unknown = JSON.parse(message)
    return typeof line === 'object' && line !== null ? { ...line } : undefined
  } catch {
    return undefined
  }
}

// Runs the four Workers, as they would be deployed, in one workerd: bundles from dist/, settings from the wrangler
// files, the model package from its own folder or from a bucket of local R2. Tests talk to them over HTTP and read their
// log lines.

import { readFileSync, readdirSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { Log, LogLevel, Miniflare, type MiniflareOptions, type Response as OutsideResponse } from 'miniflare'
import { unstable_readConfig as readConfig } from 'wrangler'
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
  stop(): Promise<void>
}

type MiniflareWorker = Extract<MiniflareOptions, { workers: unknown }>['workers'][number]
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
  const miniflare = new Miniflare({
    host: '127.0.0.1',
    port: 0,
    cf: false,
    logRequests: false,
    ...(options.inspectorPort === undefined ? {} : { inspectorPort: options.inspectorPort }),
    ...(options.r2?.directory === undefined ? {} : { resourcePersistencePath: options.r2.directory }),
    log: new Log(LogLevel.NONE),
    handleStructuredLogs: ({ message }) => {
      const line = parseLine(message)
      if (line === undefined) return
      logLines.push(line)
      for (const look of waiting) look()
    },
    workers: built.map((worker) => toMiniflareWorker(worker, options)),
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
    stop: () => miniflare.dispose(),
  }
}

function toMiniflareWorker(built: BuiltWorker, options: WorkersOptions): MiniflareWorker {
  const settings = readConfig({ config: built.configPath }, { hideWarnings: true })
  const { name, compatibility_date: compatibilityDate, compatibility_flags: compatibilityFlags, assets } = settings
  if (!isWorkerName(name) || compatibilityDate === undefined) throw new Error(`${built.configPath}: no Worker of ours`)
  const bucket = assets === undefined ? undefined : options.r2
  const source = bucket === undefined ? {} : { MODEL_SOURCE: 'r2', MODEL_CONFIG_KEY: bucket.configKey }
  const vars = { ...settings.vars, ...source, ...options.vars?.[name] }
  const services: readonly ServiceBinding[] = settings.services ?? []
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
      },
      exports: {},
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

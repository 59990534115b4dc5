// Our engine inside workerd as contestants: timing-worker.ts in a workerd of its own, told over HTTP what to run.
import { readFileSync, readdirSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { Log, LogLevel, Miniflare } from 'miniflare'
import { buildWasm } from '../../tools/build-wasm.ts'
import { readManifest } from '../../tools/model/load-model.ts'
import { runCommand } from '../../tools/run-command.ts'
import { OFFLINE_ENV, WRANGLER_PATH } from '../../tools/wrangler.ts'
import type { Contestant, Work } from './contestant.ts'
import type { EncoderInput } from './inputs.ts'
import type { PackageChoice } from './ours.ts'
import type { Modality } from './peer-models.ts'

export interface TimingWorkerd {
  load: (choice: PackageChoice, modality: Modality) => Promise<void>
  contestant: (variant: string, work: Work) => Contestant
  stop: () => Promise<void>
}

const CONFIG_PATH = join(import.meta.dirname, 'wrangler.toml')
const OUT_DIR = resolve(import.meta.dirname, '../../build/timing-worker')
const COMPATIBILITY_DATE = '2026-10-01'
/** A request runs passes for about this long, so that the jitter of HTTP (tenths of a millisecond) stays below a percent. */
const REQUEST_MS = 60
const MAX_PASSES = 16

export async function startTimingWorkerd(): Promise<TimingWorkerd> {
  const miniflare = await startMiniflare()
  const base = await miniflare.ready
  const call = async (path: string, query: Record<string, string>, body?: BodyInit): Promise<Response> => {
    const url = new URL(`${path}?${new URLSearchParams(query).toString()}`, base)
    const response = await fetch(url, body === undefined ? {} : { method: 'POST', body })
    if (!response.ok) throw new Error(`timing Worker: ${path}: ${response.status} ${await response.text()}`)
    return response
  }
  return {
    load: (choice, modality) => load(call, choice, modality),
    contestant: (variant, work) => makeContestant(call, variant, work),
    stop: () => miniflare.dispose(),
  }
}

type Call = (path: string, query: Record<string, string>, body?: BodyInit) => Promise<Response>

async function load(call: Call, { variant, directory }: PackageChoice, modality: Modality): Promise<void> {
  const { files } = await readManifest(directory)
  const [config, preprocessor] = await Promise.all(
    ['config.json', files.preprocessor.name].map((name) => readFile(join(directory, name), 'utf8')),
  )
  const weights = await readFile(join(directory, files[modality].name))
  const query = { name: variant, modality, config: minify(config), preprocessor: minify(preprocessor) }
  await (await call('/load', query, new Uint8Array(weights))).text()
}

function minify(json: string | undefined): string {
  return JSON.stringify(JSON.parse(json ?? ''))
}

function makeContestant(call: Call, variant: string, work: Work): Contestant {
  const known = new Set<string>()
  const prepare = async (input: EncoderInput): Promise<string> => {
    const name = `${variant} ${input.shape}`
    if (!known.has(name)) {
      const data = input.kind === 'text' ? Int32Array.from(input.inputIds) : new Float32Array(input.pixelValues)
      await (await call('/input', { name, encoder: variant }, data)).text()
      known.add(name)
    }
    return name
  }
  const passesByInput = new Map<string, number>()
  const timeRequest = async (name: string, passes: number): Promise<number> => {
    const startMs = performance.now()
    await (await call('/run', { name, work, passes: String(passes) })).text()
    return performance.now() - startMs
  }
  return {
    engine: 'flava-edge',
    variant,
    runtime: 'workerd',
    work,
    async encode(input) {
      const response = await call('/run', { name: await prepare(input), work, passes: '1', output: 'yes' })
      return new Float32Array(await response.arrayBuffer())
    },
    async time(input) {
      const name = await prepare(input)
      const passes = passesByInput.get(name) ?? 1
      const requestMs = await timeRequest(name, 0)
      const passMs = Math.max(0, (await timeRequest(name, passes)) - requestMs) / passes
      passesByInput.set(name, Math.min(MAX_PASSES, Math.max(1, Math.ceil(REQUEST_MS / passMs))))
      return passMs
    },
  }
}

async function startMiniflare(): Promise<Miniflare> {
  await buildWasm()
  const args = ['deploy', '--dry-run', '-c', CONFIG_PATH, '--outdir', OUT_DIR]
  const { exitCode, output } = await runCommand(process.execPath, [WRANGLER_PATH, ...args], { env: OFFLINE_ENV })
  if (exitCode !== 0) throw new Error(`timing Worker: wrangler could not bundle it\n${output}`)
  const files = readdirSync(OUT_DIR)
  const read = (file: string) => readFileSync(join(OUT_DIR, file))
  const scripts = files.filter((file) => file.endsWith('.js'))
  const modules = Object.fromEntries([
    ...scripts.map((file) => [file, { type: 'esm', contents: read(file).toString('utf8') }] as const),
    ...files
      .filter((file) => file.endsWith('.wasm'))
      .map((file) => [file, { type: 'wasm', contents: new Uint8Array(read(file)) }] as const),
  ])
  const manifest = { mainModule: scripts[0] ?? '', modulesRoot: OUT_DIR, modules }
  return new Miniflare({
    host: '127.0.0.1',
    port: 0,
    cf: false,
    logRequests: false,
    log: new Log(LogLevel.NONE),
    workers: [{ config: { name: 'timing', compatibilityDate: COMPATIBILITY_DATE, manifest, env: {}, exports: {} } }],
  })
}

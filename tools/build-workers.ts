// Bundles every Worker as a deployment would, offline, into dist/: `wrangler deploy --dry-run` on each wrangler*.toml.
// Does nothing when sources and settings are what the last build used. Safe to run in several processes at once.

import { globSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { basename, join, resolve } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import { buildWasm } from './build-wasm.ts'
import { runCommand } from './run-command.ts'
import { contentStamp, isStampCurrent, writeStamp } from './stamp.mjs'
import { OFFLINE_ENV, WRANGLER_PATH } from './wrangler.ts'

export interface BuiltWorker {
  /** The Worker's wrangler file. */
  configPath: string
  /** Folder with the script and the modules it imports. */
  directory: string
  mainModule: string
  /** What a deployment would upload, static assets aside. */
  sizeBytes: number
}

const ROOT = resolve(import.meta.dirname, '..')
const DIST = join(ROOT, 'dist')
const STAMP_PATH = join(DIST, 'workers.stamp')
const LOCK_PATH = join(DIST, 'workers.lock')
const LOCK_POLL_MS = 100
/** A map is for people; README.md is wrangler's note to them. */
const NOT_UPLOADED = /\.map$|^README\.md$/

/** The gateway first, then the Workers that it calls. */
export const WORKER_CONFIGS: readonly string[] = [
  'wrangler.toml',
  'wrangler.pixels.toml',
  'wrangler.text.toml',
  'wrangler.image.toml',
]

/** @throws Error with wrangler's own words when a bundle cannot be made */
export async function buildWorkers(): Promise<BuiltWorker[]> {
  await buildWasm()
  const stamp = sourceStamp()
  mkdirSync(DIST, { recursive: true })
  const unlock = await lock()
  try {
    if (!isStampCurrent(STAMP_PATH, stamp)) {
      rmSync(STAMP_PATH, { force: true })
      for (const config of WORKER_CONFIGS) await bundle(config)
      writeStamp(STAMP_PATH, stamp)
    }
  } finally {
    unlock()
  }
  return WORKER_CONFIGS.map(describeBundle)
}

function sourceStamp(): string {
  const sources = globSync('{src/**/*.{ts,json},contract/**/*.json,build/wasm/*.wasm}', { cwd: ROOT }).toSorted()
  const paths = [...sources, ...WORKER_CONFIGS, 'package-lock.json'].map((path) => join(ROOT, path))
  return contentStamp(paths, sources)
}

async function bundle(config: string): Promise<void> {
  const directory = outputDirectory(config)
  rmSync(directory, { recursive: true, force: true })
  const args = ['deploy', '--dry-run', '-c', join(ROOT, config), '--outdir', directory]
  const { exitCode, output } = await runCommand(process.execPath, [WRANGLER_PATH, ...args], { env: OFFLINE_ENV })
  if (exitCode !== 0) throw new Error(`${config}: wrangler could not bundle it\n${output}`)
}

function describeBundle(config: string): BuiltWorker {
  const directory = outputDirectory(config)
  const uploaded = readdirSync(directory).filter((file) => !NOT_UPLOADED.test(file))
  const mainModule = uploaded.find((file) => file.endsWith('.js'))
  if (mainModule === undefined) throw new Error(`${directory}: expected a script, found ${uploaded.join(', ')}`)
  const sizeBytes = uploaded.reduce((sum, file) => sum + statSync(join(directory, file)).size, 0)
  return { configPath: join(ROOT, config), directory, mainModule, sizeBytes }
}

function outputDirectory(config: string): string {
  const name = basename(config, '.toml').replace(/^wrangler\.?/, '')
  return join(DIST, name === '' ? 'gateway' : name)
}

/** One process bundles, the others wait for it; a lock whose process is gone is taken over. */
async function lock(): Promise<() => void> {
  for (;;) {
    try {
      writeFileSync(LOCK_PATH, String(process.pid), { flag: 'wx' })
      return () => rmSync(LOCK_PATH, { force: true })
    } catch {
      if (!isLockHeld()) rmSync(LOCK_PATH, { force: true })
      await wait(LOCK_POLL_MS)
    }
  }
}

function isLockHeld(): boolean {
  try {
    const pid = Number(readFileSync(LOCK_PATH, 'utf8'))
    // Empty between creation and writing.
    if (pid > 0) process.kill(pid, 0)
    return true
  } catch {
    return false
  }
}

if (import.meta.main) {
  for (const { directory, sizeBytes } of await buildWorkers()) console.log(`${directory}  ${sizeBytes} bytes`)
}

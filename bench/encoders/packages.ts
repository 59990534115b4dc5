// The full-size packages that the benches compare: given by the caller, or made once from the stand-in checkpoint.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, globSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { packageFolderOf, VARIANTS as EXPORTED_VARIANTS } from '../../tools/export/variants.ts'
import { contentStamp, isStampCurrent, writeStamp } from '../../tools/stamp.mjs'
import type { PackageChoice } from './ours.ts'

export const STANDIN_DIR = 'build/standin'
export const VARIANTS: readonly string[] = ['default', 'small', 'w7', 'simd128']

/** `name=folder` as a flag has it. */
export function parsePackageFlag(flag: string): PackageChoice {
  const [, variant, directory] = /^([^=]+)=(.+)$/.exec(flag) ?? []
  if (variant === undefined || directory === undefined) {
    throw new Error(`--package: expected <variant>=<folder>, got ${flag}`)
  }
  return { variant, directory }
}

/** Runs one of our tools to its end. */
export type RunTool = (script: string, args: readonly string[]) => Promise<void>

/** The stand-in's checkpoint and packages, and what makes them. */
export interface Standin {
  checkpoint: string
  /** Of the default package; the others have their name after a dash, as `npm run import` has it. */
  packages: string
  runTool: RunTool
}

const STANDIN: Standin = { checkpoint: STANDIN_DIR, packages: 'build/packages/standin', runTool: spawnTool }

/** Adds the plain build of the default package where it is asked for, and makes what is missing of the stand-in's. */
export async function choosePackages(
  given: readonly PackageChoice[],
  variants: readonly string[],
  standin: Standin = STANDIN,
): Promise<PackageChoice[]> {
  const choices: PackageChoice[] = []
  for (const variant of variants) {
    const isPlain = variant === 'simd128'
    const name = isPlain ? 'default' : variant
    const directory = given.find((choice) => choice.variant === name)?.directory
    if (directory === undefined && given.length > 0) continue
    const folder = directory ?? (await ensureStandinPackage(name, standin))
    choices.push({ variant, directory: folder, ...(isPlain ? { build: 'simd128' as const } : {}) })
  }
  return choices
}

async function ensureStandinPackage(name: string, standin: Standin): Promise<string> {
  const variant = EXPORTED_VARIANTS.find((exported) => exported === name)
  if (variant === undefined) throw new Error(`--variants: expected ${VARIANTS.join(', ')}, got ${name}`)
  await ensureStandin(standin)
  const directory = packageFolderOf(standin.packages, variant)
  const stampPath = `${directory}.stamp`
  const stamp = packageStamp(standin.checkpoint)
  if (existsSync(join(directory, 'config.json')) && isStampCurrent(stampPath, stamp)) return directory
  console.error(`making the ${variant} package of the stand-in; this happens once and takes minutes`)
  // It is timed and serves nobody: text of 7 bits fits no Worker, and made-up weights owe no gate anything.
  const flags = ['--allow-unfit', '--allow-below-gate']
  await standin.runTool('tools/import.ts', [
    standin.checkpoint,
    '--variant',
    variant,
    '--out',
    standin.packages,
    ...flags,
  ])
  writeStamp(stampPath, stamp)
  return directory
}

export async function ensureStandin({ checkpoint, runTool }: Pick<Standin, 'checkpoint' | 'runTool'> = STANDIN) {
  if (existsSync(join(checkpoint, 'model.safetensors'))) return
  console.error('making the stand-in checkpoint (965 MB); this happens once')
  await runTool('tools/make-standin.ts', ['--geometry', 'flava-full', '--seed', '0', '--out', checkpoint])
}

/** Changes with the checkpoint, by its file's size and time, and with anything that decides what an export writes. */
function packageStamp(checkpoint: string): string {
  const { size, mtimeMs } = statSync(join(checkpoint, 'model.safetensors'))
  const sources = globSync('gpu/flava_gpu/*.py').toSorted()
  return contentStamp([join(checkpoint, 'config.json'), ...sources], [`${size} ${mtimeMs}`])
}

/** What the tool prints goes to standard error: standard output is the bench's. */
async function spawnTool(script: string, args: readonly string[]): Promise<void> {
  const child = spawn(process.execPath, [script, ...args], { stdio: ['ignore', process.stderr, process.stderr] })
  const [exitCode] = await once(child, 'close')
  if (exitCode !== 0) throw new Error(`${script} ${args.join(' ')}: ended with ${String(exitCode)}`)
}

// The full-size packages that the benches compare: given by the caller, or made once from the stand-in checkpoint.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { packageFolderOf, VARIANTS as EXPORTED_VARIANTS } from '../../tools/export/variants.ts'
import type { PackageChoice } from './ours.ts'

export const STANDIN_DIR = 'build/standin'
/** Where the stand-in's default package lies; the others have their name after a dash, as `npm run import` has it. */
const STANDIN_PACKAGE = 'build/packages/standin'
export const VARIANTS: readonly string[] = ['default', 'small', 'w7', 'simd128']

/** `name=folder` as a flag has it. */
export function parsePackageFlag(flag: string): PackageChoice {
  const [, variant, directory] = /^([^=]+)=(.+)$/.exec(flag) ?? []
  if (variant === undefined || directory === undefined) {
    throw new Error(`--package: expected <variant>=<folder>, got ${flag}`)
  }
  return { variant, directory }
}

/** Adds the plain build of the default package where it is asked for, and makes what is missing of the stand-in's. */
export async function choosePackages(
  given: readonly PackageChoice[],
  variants: readonly string[],
): Promise<PackageChoice[]> {
  const choices: PackageChoice[] = []
  for (const variant of variants) {
    const isPlain = variant === 'simd128'
    const name = isPlain ? 'default' : variant
    const directory = given.find((choice) => choice.variant === name)?.directory
    if (directory === undefined && given.length > 0) continue
    const folder = directory ?? (await ensureStandinPackage(name))
    choices.push({ variant, directory: folder, ...(isPlain ? { build: 'simd128' as const } : {}) })
  }
  return choices
}

async function ensureStandinPackage(name: string): Promise<string> {
  const variant = EXPORTED_VARIANTS.find((exported) => exported === name)
  if (variant === undefined) throw new Error(`--variants: expected ${VARIANTS.join(', ')}, got ${name}`)
  const directory = packageFolderOf(STANDIN_PACKAGE, variant)
  if (existsSync(join(directory, 'config.json'))) return directory
  await ensureStandin()
  console.error(`making the ${variant} package of the stand-in; this happens once and takes minutes`)
  // Text of 7 bits is timed too, and fits no Worker.
  await runTool('tools/import.ts', [STANDIN_DIR, '--variant', variant, '--out', STANDIN_PACKAGE, '--allow-unfit'])
  return directory
}

export async function ensureStandin(): Promise<void> {
  if (existsSync(join(STANDIN_DIR, 'model.safetensors'))) return
  console.error('making the stand-in checkpoint (965 MB); this happens once')
  await runTool('tools/make-standin.ts', ['--geometry', 'flava-full', '--seed', '0', '--out', STANDIN_DIR])
}

/** What the tool prints goes to standard error: standard output is the bench's. */
async function runTool(script: string, args: readonly string[]): Promise<void> {
  const child = spawn(process.execPath, [script, ...args], { stdio: ['ignore', process.stderr, process.stderr] })
  const [exitCode] = await once(child, 'close')
  if (exitCode !== 0) throw new Error(`${script} ${args.join(' ')}: ended with ${String(exitCode)}`)
}

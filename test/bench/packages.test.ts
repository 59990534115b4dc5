// Which packages a bench takes, and when it makes the stand-in's anew; the tools that would take minutes are a fake.
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { choosePackages, VARIANTS, type Standin } from '../../bench/encoders/packages.ts'

let folder: string
let standin: Standin
let runs: string[][]

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'flava-bench-'))
  runs = []
  const checkpoint = join(folder, 'standin')
  const packages = join(folder, 'packages/standin')
  standin = { checkpoint, packages, runTool: async (script, args) => runTool(basename(script), args) }
})
afterEach(() => rmSync(folder, { recursive: true }))

/** Writes where the real tools do: import's other variants than default have their name after a dash. */
function runTool(script: string, args: readonly string[]): void {
  runs.push([script, ...args])
  const valueOf = (flag: string): string => args[args.indexOf(flag) + 1] ?? ''
  const out = valueOf('--out')
  if (script === 'make-standin.ts') {
    writeFiles(out, ['config.json', 'model.safetensors'])
    return
  }
  const variant = valueOf('--variant')
  writeFiles(variant === 'default' ? out : `${out}-${variant}`, ['config.json'])
}

function writeFiles(directory: string, names: readonly string[]): void {
  mkdirSync(directory, { recursive: true })
  for (const name of names) writeFileSync(join(directory, name), '{}')
}

function imports(): string[] {
  return runs.filter(([script]) => script === 'import.ts').map((args) => args[args.indexOf('--variant') + 1] ?? '')
}

test('makes every default variant once from nothing, whatever its gates and size, and finds each where it was written', async () => {
  const choices = await choosePackages([], VARIANTS, standin)
  expect(choices.map(({ variant, directory, build }) => [variant, basename(directory), build])).toEqual([
    ['default', 'standin', undefined],
    ['small', 'standin-small', undefined],
    ['w7', 'standin-w7', undefined],
    ['simd128', 'standin', 'simd128'],
  ])
  for (const { directory } of choices) expect(readFileSync(join(directory, 'config.json'), 'utf8')).toBe('{}')
  expect(runs.map(([script]) => script)).toEqual(['make-standin.ts', 'import.ts', 'import.ts', 'import.ts'])
  expect(imports()).toEqual(['default', 'small', 'w7'])
  for (const args of runs.slice(1))
    expect(args).toEqual(expect.arrayContaining(['--allow-unfit', '--allow-below-gate']))
  await choosePackages([], VARIANTS, standin)
  expect(runs).toHaveLength(4)
})

test('makes a package anew that is of another checkpoint, or of nobody knows which exporter', async () => {
  await choosePackages([], ['default'], standin)
  writeFileSync(join(standin.checkpoint, 'model.safetensors'), 'other weights')
  await choosePackages([], ['default'], standin)
  expect(imports()).toEqual(['default', 'default'])
  rmSync(`${standin.packages}.stamp`)
  await choosePackages([], ['default'], standin)
  expect(imports()).toEqual(['default', 'default', 'default'])
})

test('takes the packages that were given, and makes none', async () => {
  const given = [{ variant: 'default', directory: 'models/flava-emoji' }]
  const choices = await choosePackages(given, VARIANTS, standin)
  expect(choices.map(({ variant }) => variant)).toEqual(['default', 'simd128'])
  expect(runs).toEqual([])
})

test('refuses a variant that nothing makes', async () => {
  await expect(choosePackages([], ['w3'], standin)).rejects.toThrow('--variants: expected default, small, w7, simd128')
})

// Compiles the AssemblyScript kernels into build/wasm: relaxed.wasm and simd128.wasm, each with its .wat for the tests
// that guard the instruction sequence. Does nothing when sources, options and compiler are what the last build used.
import { randomUUID } from 'node:crypto'
import { mkdir, readdir, rename, rm, stat, writeFile } from 'node:fs/promises'
import { join, relative, resolve } from 'node:path'
import { contentStamp, isStampCurrent, writeStamp } from './stamp.mjs'

const ROOT = resolve(import.meta.dirname, '..')
const SOURCE_DIR = join(ROOT, 'src/wasm/assembly')

/** Holds the compiler's version, which is part of the stamp. */
const COMPILER_PACKAGE = join(ROOT, 'node_modules/assemblyscript/package.json')

/** Where the builds lie; see buildWasm for the names. */
export const WASM_DIR = join(ROOT, 'build/wasm')

/**
 * Never above -O2 and never -Os: from there on the optimizer folds each sum of a GEMM tile into one long expression, V8
 * spills all operands, and half the speed is gone.
 */
export const OPTIMIZE_FLAG = '-O1'

const SHARED_FLAGS: readonly string[] = [
  OPTIMIZE_FLAG,
  '--runtime',
  'stub',
  '--noAssert',
  '--importMemory',
  '--noExportMemory',
  // The minimum that the imported memory must have; the static data takes under 1 KiB.
  '--initialMemory',
  '1',
  '--enable',
  'simd',
]

/** File name and compiler flags of each build. */
export const WASM_BUILDS: readonly { name: string; flags: readonly string[] }[] = [
  { name: 'relaxed', flags: [...SHARED_FLAGS, '--enable', 'relaxed-simd'] },
  { name: 'simd128', flags: SHARED_FLAGS },
]

export interface WasmSize {
  name: string
  sizeBytes: number
}

/**
 * Makes build/wasm/<name>.wasm and .wat for every build. Safe to run in several processes at once: files are renamed
 * into place and the stamp is written last.
 * @throws Error with the compiler's messages; warnings count as errors
 */
export async function buildWasm(): Promise<{ isFresh: boolean; sizes: readonly WasmSize[] }> {
  const sources = (await readdir(SOURCE_DIR, { recursive: true })).filter((name) => name.endsWith('.ts')).toSorted()
  const paths = [COMPILER_PACKAGE, ...sources.map((name) => join(SOURCE_DIR, name))]
  const stamp = contentStamp(paths, [JSON.stringify(sources), JSON.stringify(WASM_BUILDS)])
  const stampPath = join(WASM_DIR, 'stamp.txt')
  const isFresh = isStampCurrent(stampPath, stamp) && (await wasmSizes().catch(() => null)) !== null
  if (!isFresh) {
    await mkdir(WASM_DIR, { recursive: true })
    for (const { name, flags } of WASM_BUILDS) await compile(name, flags)
    writeStamp(stampPath, stamp)
  }
  return { isFresh, sizes: await wasmSizes() }
}

async function compile(name: string, flags: readonly string[]): Promise<void> {
  // Loaded late: the compiler takes seconds to import, and most calls find everything up to date.
  const { default: asc } = await import('assemblyscript/asc')
  const outputs = new Map<string, string | Uint8Array>()
  const entry = relative(ROOT, join(SOURCE_DIR, 'index.ts'))
  const messages: string[] = []
  const { error } = await asc.main(
    [entry, '--baseDir', ROOT, ...flags, '--outFile', `${name}.wasm`, '--textFile', `${name}.wat`],
    {
      writeFile: (fileName, contents) => void outputs.set(fileName, contents),
      stderr: asc.createMemoryStream((chunk) => void messages.push(String(chunk))),
    },
  )
  if (error || messages.length > 0) throw new Error(`${name}: ${messages.join('') || error?.message}`)
  for (const [fileName, contents] of outputs) await replaceFile(join(WASM_DIR, fileName), contents)
}

async function replaceFile(path: string, contents: string | Uint8Array): Promise<void> {
  const temporaryPath = `${path}.${randomUUID()}`
  try {
    await writeFile(temporaryPath, contents)
    await rename(temporaryPath, path)
  } finally {
    await rm(temporaryPath, { force: true })
  }
}

async function wasmSizes(): Promise<WasmSize[]> {
  return await Promise.all(
    WASM_BUILDS.map(async ({ name }) => {
      await stat(join(WASM_DIR, `${name}.wat`))
      return { name, sizeBytes: (await stat(join(WASM_DIR, `${name}.wasm`))).size }
    }),
  )
}

if (import.meta.main) {
  const { isFresh, sizes } = await buildWasm()
  for (const { name, sizeBytes } of sizes) {
    console.log(`build/wasm/${name}.wasm  ${sizeBytes} bytes${isFresh ? '  (unchanged)' : ''}`)
  }
}

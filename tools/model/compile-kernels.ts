// Both kernel builds compiled in Node, for tools, benches and tests; Workers import the .wasm files as modules instead.
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { KernelModules } from '../../src/wasm/kernels.ts'
import { buildWasm, WASM_DIR } from '../build-wasm.ts'

/** Runs the AssemblyScript compiler first when build/wasm is out of date. */
export async function compileKernels(): Promise<KernelModules> {
  await buildWasm()
  const compile = async (name: string) => await WebAssembly.compile(await readFile(join(WASM_DIR, name)))
  return { relaxedSimd: await compile('relaxed.wasm'), simd128: await compile('simd128.wasm') }
}

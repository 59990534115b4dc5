// Kernels for tests: built when sources changed, compiled once per test file, instantiated fresh for every use.
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect } from 'vitest'
import { createKernels } from '../../src/wasm/kernels.ts'
import type { KernelBuild, KernelModules, Kernels } from '../../src/wasm/kernels.ts'
import { buildWasm, WASM_DIR } from '../../tools/build-wasm.ts'

export const MIB = 1024 * 1024

const modules = await loadKernelModules()

/** Both builds, compiled; runs the AssemblyScript compiler first when build/wasm is out of date. */
export async function loadKernelModules(): Promise<KernelModules> {
  await buildWasm()
  const compile = async (name: string) => await WebAssembly.compile(await readFile(join(WASM_DIR, name)))
  return { relaxedSimd: await compile('relaxed.wasm'), simd128: await compile('simd128.wasm') }
}

export function newKernels(build: KernelBuild, maxBytes: number = 32 * MIB): Kernels {
  return createKernels(modules, { maxBytes, build })
}

/** Runs the same work in both builds, asserts that the results are equal bit for bit, and returns one of them. */
export function expectSameInBothBuilds<Result extends ArrayBufferView>(run: (kernels: Kernels) => Result): Result {
  const relaxed = run(newKernels('relaxed-simd'))
  const plain = run(newKernels('simd128'))
  expect(bytesOf(plain)).toEqual(bytesOf(relaxed))
  return relaxed
}

function bytesOf(view: ArrayBufferView): Uint8Array {
  return new Uint8Array(view.buffer, view.byteOffset, view.byteLength)
}

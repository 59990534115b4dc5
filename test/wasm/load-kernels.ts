// Kernels for tests: built when sources changed, compiled once per test file, instantiated fresh for every use.
import { expect } from 'vitest'
import { createKernels } from '../../src/wasm/kernels.ts'
import type { DotKind, KernelBuild, Kernels } from '../../src/wasm/kernels.ts'
import { compileKernels } from '../../tools/model/compile-kernels.ts'

export const MIB = 1024 * 1024

const modules = await compileKernels()

export function newKernels(build: KernelBuild, maxBytes: number = 32 * MIB): Kernels {
  return createKernels(modules, { maxBytes, build })
}

/** Runs the same integer work on every dot product there is, and returns what all of them give, bit for bit. */
export function expectSameOnEveryDot<Result extends ArrayBufferView>(run: (kernels: Kernels) => Result): Result {
  const plain = run(newKernels('simd128'))
  for (const dotKind of ['fused', 'pairs', 'wide'] satisfies DotKind[]) {
    const relaxed = run(createKernels(modules, { maxBytes: 32 * MIB, build: 'relaxed-simd', dotKind }))
    expect(bytesOf(relaxed)).toEqual(bytesOf(plain))
  }
  return plain
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

// The typed binding: what it refuses before a kernel sees it, and the memory it owns.
import { describe, expect, test } from 'vitest'
import { InvalidInputError, ModelPackageError, ShapeMismatchError } from '../../src/errors.ts'
import { createKernels } from '../../src/wasm/kernels.ts'
import { allocQuantizedRows } from '../../src/wasm/quantized-rows.ts'
import type { Kernels, PackedWeight } from '../../src/wasm/kernels.ts'
import { selectKernelBuild } from '../../src/wasm/select-build.ts'
import { compileKernels } from '../../tools/model/compile-kernels.ts'
import { MIB, newKernels } from './load-kernels.ts'

/** (module): valid, and no kernel build. */
const EMPTY_MODULE = new Uint8Array([0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00])

const PAGE_BYTES = 65536

function allocWeight(kernels: Kernels, n: number, k: number): PackedWeight {
  const { arena } = kernels
  return { dataPtr: arena.alloc(n * k), scalePtr: arena.alloc(4 * n), biasPtr: arena.alloc(4 * n), n, k, scheme: 'w7' }
}

describe('createKernels', () => {
  test('takes the build that the engine can run, which in this Node is relaxed SIMD', async () => {
    expect(selectKernelBuild()).toBe('relaxed-simd')
    const kernels = createKernels(await compileKernels(), { maxBytes: MIB })
    expect(kernels.build).toBe('relaxed-simd')
  })

  test('starts with one page and never grows past maxBytes, rounded down to pages', () => {
    const kernels = newKernels('simd128', 3 * PAGE_BYTES + 5)
    expect(kernels.memory.buffer.byteLength).toBe(PAGE_BYTES)
    expect(() => kernels.arena.alloc(3 * PAGE_BYTES)).toThrow(expect.objectContaining({ code: 'out_of_memory' }))
    expect(() => kernels.memory.grow(3)).toThrow(RangeError)
    kernels.memory.grow(2)
    expect(kernels.memory.buffer.byteLength).toBe(3 * PAGE_BYTES)
  })

  test('puts the arena above the static data of the kernels', () => {
    // gelu reads its polynomial from that data: overwriting all the arena owns must not change it.
    const kernels = newKernels('relaxed-simd')
    const ptr = kernels.arena.alloc(4, 1)
    kernels.u8(ptr, PAGE_BYTES - ptr).fill(0xff)
    const xPtr = kernels.arena.alloc(4)
    kernels.f32(xPtr, 1)[0] = 1
    kernels.geluF32(xPtr, xPtr, 1)
    expect(kernels.f32(xPtr, 1)[0]).toBeCloseTo(0.841345, 6)
    expect(ptr).toBeLessThan(4096)
  })

  test('refuses a maximum under one page, and modules that are not kernel builds', async () => {
    const modules = await compileKernels()
    for (const maxBytes of [0, 65535, Number.NaN, -1]) {
      expect(() => createKernels(modules, { maxBytes })).toThrow(InvalidInputError)
    }
    const empty = await WebAssembly.compile(EMPTY_MODULE)
    expect(() => createKernels({ relaxedSimd: empty, simd128: empty }, { maxBytes: MIB })).toThrow(ModelPackageError)
  })
})

describe('views', () => {
  test('are refused when misaligned or outside the memory', () => {
    const kernels = newKernels('simd128')
    expect(() => kernels.f32(2, 1)).toThrow(ShapeMismatchError)
    expect(() => kernels.i32(PAGE_BYTES - 4, 2)).toThrow(ShapeMismatchError)
    expect(() => kernels.u8(-1, 1)).toThrow(ShapeMismatchError)
    expect(() => kernels.i8(0, PAGE_BYTES + 1)).toThrow(ShapeMismatchError)
    expect(kernels.u8(PAGE_BYTES, 0)).toHaveLength(0)
  })
})

describe('the binding refuses', () => {
  const kernels = newKernels('simd128')
  const ptr = kernels.arena.alloc(4096)
  const rows = allocQuantizedRows(kernels.arena, 5, 16)
  const weight = allocWeight(kernels, 8, 16)
  const outsidePtr = kernels.memory.buffer.byteLength

  const cases: readonly [string, () => void][] = [
    ['quantizeRows into rows of another m', () => kernels.quantizeRows(ptr, 4, 16, rows)],
    ['quantizeRows into rows of another k', () => kernels.quantizeRows(ptr, 5, 12, rows)],
    ['quantizeRows from a misaligned pointer', () => kernels.quantizeRows(ptr + 2, 5, 16, rows)],
    ['quantizeRows from outside the memory', () => kernels.quantizeRows(outsidePtr, 5, 16, rows)],
    ['quantized rows of k not divisible by 4', () => void allocQuantizedRows(kernels.arena, 1, 6)],
    ['gemm with another k', () => kernels.gemm(rows, { ...weight, k: 12 }, ptr)],
    ['gemm with n not divisible by 8', () => kernels.gemm(rows, { ...weight, n: 4 }, ptr)],
    ['gemm with packed weights off 16', () => kernels.gemm(rows, { ...weight, dataPtr: weight.dataPtr + 4 }, ptr)],
    ['gemm with an output outside the memory', () => kernels.gemm(rows, weight, outsidePtr - 4)],
    ['gemm with scales outside the memory', () => kernels.gemm(rows, { ...weight, scalePtr: outsidePtr }, ptr)],
    ['layer norm of a size not divisible by 4', () => kernels.layerNormF32(ptr, ptr, ptr, ptr, 1, 6, 1e-12)],
    ['layer norm of a negative row count', () => kernels.layerNormF32(ptr, ptr, ptr, ptr, -1, 8, 1e-12)],
    ['attention with headDim not divisible by 8', () => kernels.attention(ptr, ptr, ptr, ptr, 2, 1, 12)],
    ['attention over memory it does not have', () => kernels.attention(ptr, ptr, ptr, ptr, 999, 6, 32)],
    ['attention over more than 65536 tokens', () => kernels.attention(ptr, ptr, ptr, ptr, 65537, 1, 8)],
    ['layerNormQuantize into rows of another m', () => kernels.layerNormQuantize(ptr, ptr, ptr, 4, 16, 1e-12, rows)],
    ['gelu past the end', () => kernels.geluF32(outsidePtr - 4, outsidePtr - 4, 2)],
    ['add of a negative length', () => kernels.addF32(ptr, ptr, -1)],
    ['embedding of a size not divisible by 8', () => kernels.embedRows('e8', ptr, 1, ptr, ptr, ptr, 4)],
  ]

  test.each(cases)('%s with shape_mismatch', (_, call) => {
    const usedBytes = kernels.arena.usedBytes
    expect(call).toThrow(ShapeMismatchError)
    expect(kernels.arena.usedBytes).toBe(usedBytes)
  })
})

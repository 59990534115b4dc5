// Tensors in linear memory for kernel tests: inputs placed, outputs fenced so that a stray write is seen.
import { expect } from 'vitest'
import type { Kernels } from '../../src/wasm/kernels.ts'

const FENCE_VALUE = 12345.678
const FENCE_LENGTH = 64

export function placeF32(kernels: Kernels, values: Float32Array): number {
  const ptr = kernels.arena.alloc(values.byteLength)
  kernels.f32(ptr, values.length).set(values)
  return ptr
}

export function placeI32(kernels: Kernels, values: Int32Array): number {
  const ptr = kernels.arena.alloc(values.byteLength)
  kernels.i32(ptr, values.length).set(values)
  return ptr
}

export function placeBytes(kernels: Kernels, values: Uint8Array | Int8Array): number {
  const ptr = kernels.arena.alloc(values.byteLength)
  kernels.u8(ptr, values.length).set(new Uint8Array(values.buffer, values.byteOffset, values.byteLength))
  return ptr
}

/** An f32 output with fences before and after it. */
export interface FencedOutput {
  ptr: number
  /** A copy of the output, after checking that the fences still stand. */
  read: () => Float32Array
}

/** @param initial what the output holds before the kernel runs */
export function fencedF32(kernels: Kernels, initial: Float32Array): FencedOutput {
  const fence = new Float32Array(FENCE_LENGTH).fill(FENCE_VALUE)
  const beforePtr = placeF32(kernels, fence)
  const ptr = kernels.arena.alloc(initial.byteLength, 4)
  kernels.f32(ptr, initial.length).set(initial)
  const afterPtr = kernels.arena.alloc(fence.byteLength, 4)
  kernels.f32(afterPtr, FENCE_LENGTH).set(fence)
  return {
    ptr,
    read: () => {
      expect(kernels.f32(beforePtr, FENCE_LENGTH)).toEqual(fence)
      expect(kernels.f32(afterPtr, FENCE_LENGTH)).toEqual(fence)
      return kernels.f32(ptr, initial.length).slice()
    },
  }
}

/** Largest |actual - expected| / (1 + |expected|): absolute near zero, relative for large values. */
export function maxError(actual: ArrayLike<number>, expected: ArrayLike<number>): number {
  expect(actual.length).toBe(expected.length)
  let largest = 0
  for (let i = 0; i < actual.length; i++) {
    const want = expected[i] ?? Number.NaN
    const error = Math.abs((actual[i] ?? Number.NaN) - want) / (1 + Math.abs(want))
    // NaN on either side is the largest error there is.
    largest = Number.isNaN(error) ? Infinity : Math.max(largest, error)
  }
  return largest
}

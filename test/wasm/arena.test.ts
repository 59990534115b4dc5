// The arena: alignment, stack discipline, growth up to the limit and not past it.
import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { OutOfMemoryError, ShapeMismatchError } from '../../src/errors.ts'
import { Arena } from '../../src/wasm/arena.ts'

const PAGE_BYTES = 65536

function newArena(maxPages = 16, basePtr = 1000): { arena: Arena; memory: WebAssembly.Memory } {
  const memory = new WebAssembly.Memory({ initial: 1, maximum: maxPages })
  return { arena: new Arena(memory, basePtr, maxPages * PAGE_BYTES), memory }
}

describe('Arena', () => {
  test('gives aligned, disjoint regions above the base, inside the memory', () => {
    const request = fc.record({
      bytes: fc.integer({ min: 0, max: 20_000 }),
      alignPower: fc.integer({ min: 0, max: 8 }),
    })
    fc.assert(
      fc.property(fc.array(request, { maxLength: 30 }), fc.integer({ min: 0, max: 3000 }), (requests, basePtr) => {
        const { arena, memory } = newArena(32, basePtr)
        let endPtr = basePtr
        for (const { bytes, alignPower } of requests) {
          const ptr = arena.alloc(bytes, 2 ** alignPower)
          expect(ptr % 2 ** alignPower).toBe(0)
          expect(ptr).toBeGreaterThanOrEqual(endPtr)
          endPtr = ptr + bytes
          expect(endPtr).toBeLessThanOrEqual(memory.buffer.byteLength)
          expect(arena.usedBytes).toBe(endPtr)
        }
      }),
      { seed: 20266, numRuns: 100 },
    )
  })

  test('aligns to 16 bytes by default', () => {
    const { arena } = newArena()
    arena.alloc(1)
    expect(arena.alloc(4) % 16).toBe(0)
  })

  test('release gives back everything since the mark, nested marks too, and remembers the high water', () => {
    const { arena } = newArena()
    const weightsPtr = arena.alloc(100)
    const outer = arena.mark()
    const firstPtr = arena.alloc(5000)
    const inner = arena.mark()
    arena.alloc(70_000)
    const highest = arena.usedBytes
    arena.release(inner)
    expect(arena.usedBytes).toBe(firstPtr + 5000)
    arena.release(outer)
    expect(arena.usedBytes).toBe(weightsPtr + 100)
    expect(arena.alloc(5000)).toBe(firstPtr)
    expect(arena.highWaterBytes).toBe(highest)
  })

  test('keeps the bytes it holds when memory grows, and detaches older views', () => {
    const { arena, memory } = newArena()
    const ptr = arena.alloc(4)
    const view = new Uint8Array(memory.buffer, ptr, 4)
    view.set([1, 2, 3, 4])
    arena.alloc(PAGE_BYTES)
    expect(view).toHaveLength(0)
    expect([...new Uint8Array(memory.buffer, ptr, 4)]).toEqual([1, 2, 3, 4])
  })

  test('fills memory to the last byte of the limit and throws out_of_memory past it, unchanged', () => {
    const { arena, memory } = newArena(2, 0)
    arena.alloc(2 * PAGE_BYTES - 16)
    expect(() => arena.alloc(17)).toThrow(OutOfMemoryError)
    expect(arena.usedBytes).toBe(2 * PAGE_BYTES - 16)
    expect(arena.alloc(16)).toBe(2 * PAGE_BYTES - 16)
    expect(memory.buffer.byteLength).toBe(2 * PAGE_BYTES)
    expect(() => arena.alloc(1)).toThrow(
      expect.objectContaining({ code: 'out_of_memory', message: expect.stringContaining(`${2 * PAGE_BYTES} bytes`) }),
    )
  })

  test('turns a refusal of the engine into out_of_memory with its cause', () => {
    const memory = new WebAssembly.Memory({ initial: 1, maximum: 2 })
    const arena = new Arena(memory, 0, 8 * PAGE_BYTES)
    expect(() => arena.alloc(3 * PAGE_BYTES)).toThrow(
      expect.objectContaining({ code: 'out_of_memory', cause: expect.any(RangeError) }),
    )
  })

  test('refuses sizes, alignments and marks that make no sense', () => {
    const { arena } = newArena()
    for (const bytes of [-1, 1.5, Number.NaN, Infinity]) expect(() => arena.alloc(bytes)).toThrow(ShapeMismatchError)
    for (const align of [0, 3, -4, 0.5]) expect(() => arena.alloc(1, align)).toThrow(ShapeMismatchError)
    const mark = arena.mark()
    arena.alloc(64)
    const later = arena.mark()
    arena.release(mark)
    expect(() => arena.release(later)).toThrow(ShapeMismatchError)
    expect(() => arena.release(0)).toThrow(ShapeMismatchError)
  })
})

// Stack allocator over one WebAssembly.Memory: weights at the bottom, the activations of a pass above a mark.
// Does not know what the bytes mean, and never shrinks memory.
import { OutOfMemoryError, ShapeMismatchError } from '../errors.ts'

const PAGE_BYTES = 65536
const DEFAULT_ALIGN = 16

/** A position to release back to; only meaningful to the arena that gave it. */
export type ArenaMark = number

export class Arena {
  readonly #memory: WebAssembly.Memory
  readonly #basePtr: number
  readonly #maxBytes: number
  #topPtr: number
  #highWaterBytes: number

  /**
   * @param memory grown on demand, in whole pages
   * @param basePtr first free byte, past the kernels' static data
   * @param maxBytes size that linear memory as a whole may not pass
   */
  constructor(memory: WebAssembly.Memory, basePtr: number, maxBytes: number) {
    this.#memory = memory
    this.#basePtr = basePtr
    this.#maxBytes = maxBytes
    this.#topPtr = basePtr
    this.#highWaterBytes = basePtr
  }

  /**
   * Reserves bytes (not cleared) and returns their offset, a multiple of `align` (a power of two). Views made before
   * may be detached after it, since memory may grow.
   * @throws OutOfMemoryError past maxBytes; the arena is unchanged then
   */
  alloc(bytes: number, align: number = DEFAULT_ALIGN): number {
    if (!Number.isSafeInteger(bytes) || bytes < 0) {
      throw new ShapeMismatchError(`alloc: expected a whole number of bytes, got ${bytes}`)
    }
    if (!Number.isSafeInteger(align) || align < 1 || !Number.isInteger(Math.log2(align))) {
      throw new ShapeMismatchError(`alloc: expected an alignment that is a power of two, got ${align}`)
    }
    const ptr = Math.ceil(this.#topPtr / align) * align
    const endPtr = ptr + bytes
    this.#growTo(endPtr)
    this.#topPtr = endPtr
    this.#highWaterBytes = Math.max(this.#highWaterBytes, endPtr)
    return ptr
  }

  /** The current top. Everything allocated later is given back by `release(mark)`. */
  mark(): ArenaMark {
    return this.#topPtr
  }

  /** Frees what was allocated since the mark. @throws ShapeMismatchError for a mark above the top: released already */
  release(mark: ArenaMark): void {
    if (mark < this.#basePtr || mark > this.#topPtr) {
      throw new ShapeMismatchError(`release: expected a mark in [${this.#basePtr}, ${this.#topPtr}], got ${mark}`)
    }
    this.#topPtr = mark
  }

  /** Bytes of linear memory in use now, static data of the kernels included. */
  get usedBytes(): number {
    return this.#topPtr
  }

  /** Bytes that may still be reserved, alignment aside. */
  get freeBytes(): number {
    return this.#maxBytes - this.#topPtr
  }

  /** Most bytes ever in use at once. */
  get highWaterBytes(): number {
    return this.#highWaterBytes
  }

  #growTo(endPtr: number): void {
    const hasBytes = this.#memory.buffer.byteLength
    if (endPtr <= hasBytes) return
    const limit = `${this.#maxBytes} bytes of linear memory`
    if (endPtr > this.#maxBytes) throw new OutOfMemoryError(`alloc: expected at most ${limit}, needs ${endPtr}`)
    try {
      this.#memory.grow(Math.ceil((endPtr - hasBytes) / PAGE_BYTES))
    } catch (cause) {
      throw new OutOfMemoryError(`alloc: the engine refused to grow to ${endPtr} of ${limit}`, { cause })
    }
  }
}

// Checks of sizes and pointers before they reach a kernel, which checks nothing itself.
import { ShapeMismatchError } from '../errors.ts'

/** @throws ShapeMismatchError unless `count` is a whole number >= 0 and a multiple of `multiple` */
export function expectCount(name: string, count: number, multiple = 1): void {
  if (Number.isSafeInteger(count) && count >= 0 && count % multiple === 0) return
  const kind = multiple === 1 ? 'a whole number' : `a multiple of ${multiple}`
  throw new ShapeMismatchError(`${name}: expected ${kind} that is not negative, got ${count}`)
}

/** @throws ShapeMismatchError unless `ptr` is aligned and [ptr, ptr + bytes) lies inside the memory */
export function expectRegion(
  memory: WebAssembly.Memory,
  name: string,
  ptr: number,
  bytes: number,
  alignBytes: number,
): void {
  if (!Number.isSafeInteger(ptr) || ptr < 0 || ptr % alignBytes !== 0) {
    throw new ShapeMismatchError(`${name}: expected an offset that is a multiple of ${alignBytes}, got ${ptr}`)
  }
  const hasBytes = memory.buffer.byteLength
  if (ptr + bytes > hasBytes) {
    throw new ShapeMismatchError(`${name}: expected ${bytes} bytes inside ${hasBytes}, got offset ${ptr}`)
  }
}

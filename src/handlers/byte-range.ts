// The Range header of RFC 9110: one range of bytes. Several at once, other units and what cannot be read are ignored, as
// the RFC allows, and the whole is answered.

import { RangeNotSatisfiableError } from '../errors.ts'
import type { ByteRange } from '../services/files.ts'

const ONE_RANGE = /^bytes *= *(\d*) *- *(\d*) *$/i

/**
 * @returns undefined for the whole
 * @throws RangeNotSatisfiableError when it lies behind the end
 */
export function parseByteRange(header: string | undefined, size: number): ByteRange | undefined {
  const [matched, from = '', to = ''] = ONE_RANGE.exec(header ?? '') ?? []
  if (matched === undefined || (from === '' && to === '')) return undefined
  if (from === '') return checked(Math.max(0, size - Number(to)), size - 1, size)
  const last = to === '' ? size - 1 : Number(to)
  // A range that runs backwards is not a range at all.
  if (last < Number(from) && to !== '') return undefined
  return checked(Number(from), Math.min(last, size - 1), size)
}

/** `bytes 0-9/100`, the value of content-range. */
export function contentRange({ offset, length }: ByteRange, size: number): string {
  return `bytes ${offset}-${offset + length - 1}/${size}`
}

function checked(first: number, last: number, size: number): ByteRange {
  if (first >= size) {
    throw new RangeNotSatisfiableError(`range: expected to begin before byte ${size}, got one that does not`)
  }
  return { offset: first, length: last - first + 1 }
}

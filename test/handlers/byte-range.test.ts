import { expect, test } from 'vitest'
import { RangeNotSatisfiableError } from '../../src/errors.ts'
import { contentRange, parseByteRange } from '../../src/handlers/byte-range.ts'

test.for([
  ['bytes=0-0', 0, 1],
  ['bytes=2-5', 2, 4],
  ['bytes=7-', 7, 3],
  ['bytes=-4', 6, 4],
  ['bytes=-100', 0, 10],
  ['bytes=8-100', 8, 2],
  ['Bytes = 1 - 2', 1, 2],
] as const)('%s of 10 bytes begins at %i and has %i', ([header, offset, length]) => {
  expect(parseByteRange(header, 10)).toEqual({ offset, length })
})

test.for([undefined, '', 'bytes=', 'bytes=-', 'bytes=a-b', 'bytes=5-2', 'bytes=0-1,3-4', 'lines=0-1', 'bytes=1.5-2'])(
  '%j is no single range of bytes: the whole is meant',
  (header) => {
    expect(parseByteRange(header, 10)).toBeUndefined()
  },
)

test.for([
  ['bytes=10-', 10],
  ['bytes=10-20', 10],
  ['bytes=-0', 10],
  ['bytes=0-0', 0],
  ['bytes=-1', 0],
] as const)('%s of %i bytes cannot be satisfied', ([header, size]) => {
  expect(() => parseByteRange(header, size)).toThrow(RangeNotSatisfiableError)
})

test('content-range tells first, last and whole', () => {
  expect(contentRange({ offset: 2, length: 4 }, 10)).toBe('bytes 2-5/10')
})

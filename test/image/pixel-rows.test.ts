// Flattening on white against Pillow's paste, and the eight EXIF orientations.

import { createHash } from 'node:crypto'
import { describe, expect, it } from 'vitest'
import { blendOnWhite, orientedRows } from '../../src/image/pixel-rows.ts'
import { manifest } from './fixtures.ts'

describe('blendOnWhite', () => {
  it('equals Pillow paste with a mask for all 65,536 pairs of alpha and value', () => {
    const table = Uint8Array.from({ length: 65_536 }, (_, index) => blendOnWhite(index & 255, index >> 8))
    expect(createHash('sha256').update(table).digest('hex')).toBe(manifest.blend.sha256)
  })
})

describe('orientedRows', () => {
  // Stored picture of two rows: 1 2 3 / 4 5 6, as the red channel.
  const data = Uint8Array.from([1, 2, 3, 4, 5, 6].flatMap((red) => [red, 0, 0, 255]))
  const shown = {
    1: [[1, 2, 3], [4, 5, 6]],
    2: [[3, 2, 1], [6, 5, 4]],
    3: [[6, 5, 4], [3, 2, 1]],
    4: [[4, 5, 6], [1, 2, 3]],
    5: [[1, 4], [2, 5], [3, 6]],
    6: [[4, 1], [5, 2], [6, 3]],
    7: [[6, 3], [5, 2], [4, 1]],
    8: [[3, 6], [2, 5], [1, 4]],
  } // prettier-ignore

  it.each([1, 2, 3, 4, 5, 6, 7, 8] as const)('shows orientation %i as EXIF 2.32 draws it', (orientation) => {
    const rows = orientedRows({ data, width: 3, height: 2, isOpaque: false }, orientation)
    const reds = Array.from({ length: rows.height }, (_, y) => {
      const row = new Uint8Array(rows.width * 3)
      rows.readRow(y, row)
      return [...row].filter((_value, index) => index % 3 === 0)
    })
    expect(reds).toEqual(shown[orientation])
  })

  it('ignores alpha of pixels marked opaque', () => {
    const row = new Uint8Array(3)
    const pixels = { data: Uint8Array.of(9, 8, 7, 0), width: 1, height: 1 }
    orientedRows({ ...pixels, isOpaque: true }, 1).readRow(0, row)
    expect([...row]).toEqual([9, 8, 7])
    orientedRows({ ...pixels, isOpaque: false }, 1).readRow(0, row)
    expect([...row]).toEqual([255, 255, 255])
  })
})

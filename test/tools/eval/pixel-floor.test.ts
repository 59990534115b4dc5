// The pixel floor on pictures made here: which concept's training pictures are nearest, and what trimming changes.
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import sharp from 'sharp'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { pixelFeature, rankByPixels, trim } from '../../../tools/eval/pixel-floor.ts'
import { dotProduct } from '../../../tools/eval/ranks.ts'

const SIDE = 72
const folder = mkdtempSync(join(tmpdir(), 'flava-floor-'))
afterAll(() => rmSync(folder, { recursive: true }))

/** White with one coloured shape in `box` [left, top, right, bottom): a filled box, or a cross through it. */
function draw(shape: 'box' | 'cross', colour: readonly number[], box: readonly number[]): Uint8Array {
  const [left = 0, top = 0, right = 0, bottom = 0] = box
  const data = new Uint8Array(SIDE * SIDE * 3).fill(255)
  const third = (right - left) / 3
  for (let y = top; y < bottom; y++) {
    for (let x = left; x < right; x++) {
      const isArm = Math.abs(x - (left + right - 1) / 2) < third / 2 || Math.abs(y - (top + bottom - 1) / 2) < third / 2
      if (shape === 'box' || isArm) data.set(colour, (y * SIDE + x) * 3)
    }
  }
  return data
}

const WHOLE = [0, 0, SIDE, SIDE]
const SMALL = [40, 40, 64, 64]
const PICTURES = {
  'train-box': draw('box', [200, 30, 30], [6, 6, 66, 66]),
  'train-cross': draw('cross', [200, 30, 30], [6, 6, 66, 66]),
  'query-box': draw('box', [160, 60, 40], [8, 6, 68, 66]),
  'query-cross': draw('cross', [160, 60, 40], [8, 6, 68, 66]),
  'small-cross': draw('cross', [160, 60, 40], SMALL),
  'small-box': draw('box', [160, 60, 40], SMALL),
}

beforeAll(async () => {
  for (const [name, data] of Object.entries(PICTURES)) {
    await sharp(data, { raw: { width: SIDE, height: SIDE, channels: 3 } }).toFile(join(folder, `${name}.png`))
  }
})

const picture = (image: string, concept: string) => ({ image: `${image}.png`, concept })
const training = [picture('train-cross', 'cross'), picture('train-box', 'box'), picture('train-box', 'elsewhere')]

describe('rankByPixels', () => {
  test('gives each picture the concept of its nearest training picture, and each concept its picture', async () => {
    const queries = [picture('query-box', 'box'), picture('query-cross', 'cross')]
    const expected = [
      { rank: 0, gallerySize: 2 },
      { rank: 0, gallerySize: 2 },
    ]
    expect(await rankByPixels(folder, queries, training, 'canvas')).toEqual({ i2t: expected, t2i: expected })
  })

  test('trimming finds a cross drawn small and off centre', async () => {
    const queries = [picture('query-box', 'box'), picture('small-cross', 'cross')]
    const { i2t } = await rankByPixels(folder, queries, training, 'trimmed')
    expect(i2t.map(({ rank }) => rank)).toEqual([0, 0])
  })

  test('a concept without training pictures comes last', async () => {
    const queries = [picture('query-box', 'box'), picture('query-cross', 'unseen')]
    const { i2t } = await rankByPixels(folder, queries, training, 'canvas')
    expect(i2t.map(({ rank }) => rank)).toEqual([0, 1])
  })
})

describe('pixelFeature and trim', () => {
  test('a feature has length 1 to 1e-6 and no mean to 1e-6; one colour gives zeros', () => {
    const feature = pixelFeature({ data: PICTURES['query-box'], width: SIDE, height: SIDE })
    expect(feature).toHaveLength(24 * 24 * 3)
    expect(Math.abs(dotProduct(feature, feature) - 1)).toBeLessThan(1e-6)
    expect(Math.abs(feature.reduce((sum, value) => sum + value, 0))).toBeLessThan(1e-3)
    const flat = pixelFeature({ data: draw('box', [9, 9, 9], WHOLE), width: SIDE, height: SIDE })
    expect(flat.every((value) => value === 0)).toBe(true)
  })

  test('trim keeps exactly what is not white, and a white picture whole', () => {
    const trimmed = trim({ data: PICTURES['small-box'], width: SIDE, height: SIDE })
    expect([trimmed.width, trimmed.height]).toEqual([24, 24])
    expect(trimmed.data).toEqual(Uint8Array.from({ length: 24 * 24 * 3 }, (_, index) => [160, 60, 40][index % 3] ?? 0))
    const white = { data: new Uint8Array(27).fill(255), width: 3, height: 3 }
    expect(trim(white)).toEqual(white)
  })
})

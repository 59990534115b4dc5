// Outlined pictures: where the strokes and fills end up in pixels, and which pictures are outlined at all.

import sharp from 'sharp'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'

import { ArchiveError, SplitLeakError } from '../../../tools/data/errors.ts'
import { buildOutlines, outlineSvg, prepareOutlines, type OutlineVariant } from '../../../tools/data/outlines.ts'
import { EMOJI_RECIPE } from '../../../tools/data/render.ts'
import type { PairRow } from '../../../tools/data/rows.ts'

const DARK = [0x22, 0x22, 0x22, 255]
const RED = [255, 0, 0, 255]
const WHITE = [255, 255, 255, 255]

function svg(body: string): string {
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 100 100">${body}</svg>`
}

/** RGBA of one pixel of the outlined drawing, drawn as the data set draws it. */
async function pixelOf(body: string, variant: OutlineVariant, x: number, y: number): Promise<number[]> {
  const png = await EMOJI_RECIPE.draw(new TextEncoder().encode(outlineSvg(svg(body), variant)))
  if (typeof png === 'string') throw new Error(png)
  const data = await sharp(png).raw().toBuffer()
  return [...data.subarray((y * 72 + x) * 4, (y * 72 + x) * 4 + 4)]
}

// Edges at 25 and 75 of 100: pixels 18 and 53 of 72, within a stroke of two pixels.
const SQUARE = '<path d="M25 25h50v50h-50z" fill="#f00"/>'

describe('outlineSvg', () => {
  test('outlined keeps a fill and draws a dark edge two pixels wide', async () => {
    expect(await pixelOf(SQUARE, 'outlined', 36, 36)).toEqual(RED)
    expect(await pixelOf(SQUARE, 'outlined', 18, 36)).toEqual(DARK)
    expect(await pixelOf(SQUARE, 'outlined', 21, 36)).toEqual(RED)
    expect((await pixelOf(SQUARE, 'outlined', 15, 36))[3]).toBe(0)
  })

  test.each([
    ['a presentation attribute', SQUARE],
    ['an inline style', '<path d="M25 25h50v50h-50z" style="fill:#f00;stroke:#0f0;stroke-width:9"/>'],
    ['a group', '<g fill="#f00"><path d="M25 25h50v50h-50z"/></g>'],
    ['the default of black', '<path d="M25 25h50v50h-50z"/>'],
  ])('line whitens a fill from %s and darkens its edge', async (_where, body) => {
    expect(await pixelOf(body, 'line', 36, 36)).toEqual(WHITE)
    expect(await pixelOf(body, 'line', 18, 36)).toEqual(DARK)
  })

  test.each([
    ['on the shape', '<path d="M25 75V25H75V75" fill="none" stroke="#f00" stroke-width="3"/>'],
    ['on its group', '<g fill="none"><path d="M25 75V25H75V75" stroke="#f00" stroke-width="3"/></g>'],
    ['in its style', '<path d="M25 75V25H75V75" style="fill:none;stroke:#f00"/>'],
  ])('line leaves an open stroke unfilled when none stands %s', async (_where, body) => {
    expect((await pixelOf(body, 'line', 36, 36))[3]).toBe(0)
    expect(await pixelOf(body, 'line', 18, 36)).toEqual(DARK)
  })

  test('outlined keeps the colour of a shape that is a stroke itself', async () => {
    const limb = '<path d="M50 0V100" fill="none" stroke="#f00" stroke-width="20"/>'
    expect(await pixelOf(limb, 'outlined', 36, 36)).toEqual(RED)
    // The line is a little thinner than two pixels, so its own may be blended.
    expect((await pixelOf(limb, 'line', 36, 36))[0]).toBeLessThan(0x30)
  })

  test('grows the view box, so that an edge on the border is drawn in full', async () => {
    const full = '<rect width="100" height="100" fill="#f00"/>'
    expect(await pixelOf(full, 'outlined', 0, 36)).toEqual(DARK)
    expect(outlineSvg(svg(full), 'outlined')).toContain('viewBox="-1.4 -1.4 102.8 102.8"')
  })

  test('refuses a source without a view box', () => {
    expect(() => outlineSvg('<svg><path/></svg>', 'line')).toThrow(ArchiveError)
  })
})

function row(style: string, key: string, changes: Partial<PairRow> = {}): PairRow {
  return {
    image: `${style}/${key}.png`,
    style,
    style_role: 'train-style',
    key,
    family: key,
    concept_split: 'train',
    name: key,
    group: '',
    subgroup: '',
    skin: false,
    kind: 'concept',
    captions: { en: [key] },
    ...changes,
  }
}

describe('buildOutlines', () => {
  test('makes two rows of a base picture of an SVG style', () => {
    expect(buildOutlines([row('noto', '1F408')])).toEqual([
      { image: 'noto-outlined/1F408.png', style: 'noto', variant: 'outlined', key: '1F408' },
      { image: 'noto-line/1F408.png', style: 'noto', variant: 'line', key: '1F408' },
    ])
  })

  test('takes no held-out concept, no held-out style, no skin tone, flag or pixel style', () => {
    const rows = [
      row('noto', 'A', { concept_split: 'test' }),
      row('noto', 'B', { concept_split: 'dev' }),
      row('openmoji', 'C', { style_role: 'test-style' }),
      row('fxemoji', 'C', { style_role: 'dev-style' }),
      row('noto', 'D', { skin: true }),
      row('noto', 'E', { kind: 'countryflag', concept_split: 'flag' }),
      row('fluent-3d', 'C'),
    ]
    expect(buildOutlines(rows)).toEqual([])
  })

  test('refuses rows in which a picture occurs twice, naming it', () => {
    expect(() => buildOutlines([row('noto', 'A'), row('noto', 'A')])).toThrow(SplitLeakError)
    expect(() => buildOutlines([row('noto', 'A'), row('noto', 'A')])).toThrow(/noto\/A\.png/)
  })
})

describe('prepareOutlines', () => {
  const prepare = async (source: string | undefined) => {
    const folder = await mkdtemp(join(tmpdir(), 'outlines-'))
    const jobs = source === undefined ? [] : [{ image: 'noto/A.png', source: new TextEncoder().encode(source) }]
    try {
      return await prepareOutlines([row('noto', 'A')], jobs, folder)
    } finally {
      await rm(folder, { recursive: true })
    }
  }

  test('draws both variants and counts them', async () => {
    expect(await prepare(svg(SQUARE))).toMatchObject({ rows: 2, hash: expect.stringMatching(/^[0-9a-f]{64}$/) })
  })

  test('names the picture whose source is missing, without a view box or unreadable', async () => {
    await expect(prepare(undefined)).rejects.toThrow(/noto\/A\.png/)
    await expect(prepare('<svg/>')).rejects.toThrow(/noto-outlined\/A\.png/)
    await expect(prepare(svg('<path'))).rejects.toThrow(/noto-(outlined|line)\/A\.png/)
  })
})

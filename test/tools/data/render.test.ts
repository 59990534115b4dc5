// Drawing: a picture's size and place, and that a run skips what is done and redraws what is not.

import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import sharp from 'sharp'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'

import { RenderError } from '../../../tools/data/errors.ts'
import { EMOJI_RECIPE, renderImages, type Outcome, type Recipe } from '../../../tools/data/render.ts'

const encode = (source: string) => new TextEncoder().encode(source)
const square = (fill: string) =>
  encode(
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 20 10"><rect width="20" height="10" fill="${fill}"/></svg>`,
  )
const JOBS = ['red', 'lime', 'blue'].map((fill) => ({ image: `flat/${fill}.png`, source: square(fill) }))

let folder = ''
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'render-'))
})
afterEach(() => rm(folder, { recursive: true }))

/** Renders the jobs and says which were drawn, not found done. */
async function render(jobs = JOBS): Promise<{ outcomes: Map<string, Outcome>; drawn: number }> {
  let drawn = 0
  const counting: Recipe = { ...EMOJI_RECIPE, draw: (source) => (drawn++, EMOJI_RECIPE.draw(source)) }
  const target = { imagesDir: folder, ledgerPath: join(folder, 'rendered.tsv'), onDone: () => undefined }
  return { outcomes: await renderImages(jobs, counting, target), drawn }
}

describe('renderImages', () => {
  test('draws 72 × 72 RGBA, centred on transparency', async () => {
    await render()
    const { data, info } = await sharp(join(folder, 'flat/red.png')).raw().toBuffer({ resolveWithObject: true })
    expect(info).toMatchObject({ width: 72, height: 72, channels: 4 })
    const pixel = (x: number, y: number) => [...data.subarray((y * 72 + x) * 4, (y * 72 + x) * 4 + 4)]
    expect(pixel(36, 36)).toEqual([255, 0, 0, 255])
    expect(pixel(36, 4)[3]).toBe(0)
  })

  test('draws nothing the second time and reports the same hashes', async () => {
    const first = await render()
    const second = await render()
    expect([first.drawn, second.drawn]).toEqual([3, 0])
    expect(second.outcomes).toEqual(first.outcomes)
  })

  test('draws again what is damaged, missing, changed or not in the ledger of a killed run', async () => {
    const first = await render()
    await writeFile(join(folder, 'flat/red.png'), 'half a picture')
    await rm(join(folder, 'flat/lime.png'))
    expect(await render()).toEqual({ outcomes: first.outcomes, drawn: 2 })
    expect((await render([...JOBS.slice(0, 2), { image: 'flat/blue.png', source: square('navy') }])).drawn).toBe(1)
    const ledger = await readFile(join(folder, 'rendered.tsv'), 'utf8')
    await writeFile(join(folder, 'rendered.tsv'), ledger.slice(0, -40))
    expect(await render()).toEqual({ outcomes: first.outcomes, drawn: 1 })
  })

  test('names the picture that cannot be drawn', async () => {
    const jobs = [{ image: 'flat/broken.png', source: encode('<svg') }]
    await expect(render(jobs)).rejects.toThrow(RenderError)
    await expect(render(jobs)).rejects.toThrow(/flat\/broken\.png/)
  })
  test('has stopped drawing once a failure is told, so that a folder can be removed or mended', async () => {
    let drawing = 0
    const slow: Recipe = {
      name: 'slow',
      draw: async (source) => {
        drawing++
        try {
          if (new TextDecoder().decode(source) === '<svg') throw new Error('unreadable')
          // Long enough that another picture fails meanwhile: the drawing of a large square.
          for (let i = 0; i < 20; i++) await sharp(source).resize(600, 600).png().toBuffer()
          return await EMOJI_RECIPE.draw(source)
        } finally {
          drawing--
        }
      },
    }
    const jobs = [{ image: 'flat/broken.png', source: encode('<svg') }, ...JOBS]
    const target = { imagesDir: folder, ledgerPath: join(folder, 'rendered.tsv'), onDone: () => undefined }
    await expect(renderImages(jobs, slow, target)).rejects.toThrow(/broken/)
    expect(drawing).toBe(0)
  })
})

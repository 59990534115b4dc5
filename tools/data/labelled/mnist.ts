// Ten thousand of MNIST's handwritten digits, as the package `mnist` has them: one JSON file for each digit.

import sharp from 'sharp'
import { z } from 'zod'

import { LabelledDataError } from '../errors.ts'
import { readJson, type PackageFiles } from '../package-files.ts'
import type { Recipe, RenderJob } from '../render.ts'
import { groupOfContent, labelled, type LabelledRow, type LabelledSet } from './labelled-rows.ts'

export interface DigitRow extends LabelledRow {
  image: string
}

const SIDE_PX = 28
const digitsSchema = z.object({ data: z.array(z.number().min(0).max(1)) })

/** Grey values as they are, `[28, 28, 1]`. */
export const DIGIT_RECIPE: Recipe = {
  name: `digit-v1 ${SIDE_PX} px`,
  draw: (source) =>
    sharp(source, { raw: { width: SIDE_PX, height: SIDE_PX, channels: 1 } })
      .toColourspace('b-w')
      .png({ compressionLevel: 6 })
      .toBuffer(),
}

/** @throws LabelledDataError for a file that is not whole pictures of 784 values in [0, 1] */
export function readDigits(mnist: PackageFiles): LabelledSet {
  const rows: DigitRow[] = []
  const jobs: RenderJob[] = []
  for (let digit = 0; digit <= 9; digit++) {
    const path = `src/digits/${digit}.json`
    const { data } = readJson(mnist, path, digitsSchema)
    if (data.length === 0 || data.length % SIDE_PX ** 2 !== 0) {
      throw new LabelledDataError(`${mnist.name}: ${path}: expected pictures of 784 values, got ${data.length} values`)
    }
    for (let start = 0; start < data.length; start += SIDE_PX ** 2) {
      // The package has them as value / 255, rounded to three digits.
      const source = Uint8Array.from(data.slice(start, start + SIDE_PX ** 2), (value) => Math.round(value * 255))
      const id = `${digit}-${String(start / SIDE_PX ** 2).padStart(4, '0')}`
      const image = `mnist/${id}.png`
      rows.push({ image, ...labelled(id, String(digit), groupOfContent(source)) })
      jobs.push({ image, source })
    }
  }
  return { name: 'mnist', rows, jobs }
}

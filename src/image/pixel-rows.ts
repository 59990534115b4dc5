// Decoded pixels as rows of opaque RGB: alpha flattened on white and EXIF orientation applied while reading, so that
// neither needs a second picture in memory.

import type { Orientation } from './exif.ts'

/** What a decoder hands over. `data` is RGBA u8 [height, width, 4], straight alpha; when `isOpaque` alpha means nothing. */
export interface RgbaPixels {
  data: Uint8Array
  width: number
  height: number
  isOpaque: boolean
}

/** A picture read row by row, from the top of the picture as displayed. */
export interface PixelRows {
  width: number
  height: number
  /** Writes row `y`, RGB u8 [width, 3], to the start of `out`. */
  readRow(y: number, out: Uint8Array): void
}

/** Where display position (0, 0) lies in stored pixels and how far one display step right or down moves there. */
interface Walk {
  width: number
  height: number
  origin: number
  stepX: number
  stepY: number
}

/**
 * Rows of a picture as displayed.
 * Rounding on white is that of PIL's `background.paste(image, mask=alpha)`.
 * @param pixels borrowed, not copied: rows are valid as long as its data is
 */
export function orientedRows(pixels: RgbaPixels, orientation: Orientation): PixelRows {
  const { data, isOpaque } = pixels
  const { width, height, origin, stepX, stepY } = walkOf(pixels.width, pixels.height, orientation)
  function readRow(y: number, out: Uint8Array): void {
    let from = (origin + y * stepY) * 4
    for (let to = 0; to < width * 3; to += 3, from += stepX * 4) {
      const alpha = isOpaque ? 255 : data[from + 3]!
      if (alpha === 255) {
        out[to] = data[from]!
        out[to + 1] = data[from + 1]!
        out[to + 2] = data[from + 2]!
      } else {
        out[to] = blendOnWhite(data[from]!, alpha)
        out[to + 1] = blendOnWhite(data[from + 1]!, alpha)
        out[to + 2] = blendOnWhite(data[from + 2]!, alpha)
      }
    }
  }
  return { width, height, readRow }
}

/**
 * One channel over white, all u8: round((255 * (255 - alpha) + value * alpha) / 255), halves up.
 * The shifts divide by 255 exactly for every possible sum, as Pillow's paste does (`Imaging.h`, DIV255).
 */
export function blendOnWhite(value: number, alpha: number): number {
  const sum = 255 * (255 - alpha) + value * alpha + 128
  return ((sum >> 8) + sum) >> 8
}

/** EXIF 2.32, tag Orientation: which stored corner is shown at the top left, and which way rows then run. */
function walkOf(width: number, height: number, orientation: Orientation): Walk {
  const right = width - 1
  const bottom = (height - 1) * width
  switch (orientation) {
    case 1:
      return { width, height, origin: 0, stepX: 1, stepY: width }
    case 2:
      return { width, height, origin: right, stepX: -1, stepY: width }
    case 3:
      return { width, height, origin: bottom + right, stepX: -1, stepY: -width }
    case 4:
      return { width, height, origin: bottom, stepX: 1, stepY: -width }
    case 5:
      return { width: height, height: width, origin: 0, stepX: width, stepY: 1 }
    case 6:
      return { width: height, height: width, origin: bottom, stepX: -width, stepY: 1 }
    case 7:
      return { width: height, height: width, origin: bottom + right, stepX: -width, stepY: -1 }
    case 8:
      return { width: height, height: width, origin: right, stepX: width, stepY: -1 }
  }
}

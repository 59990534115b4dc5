// Large pictures for memory tests, encoded here because they are too large to commit.

import { deflateSync } from 'node:zlib'
import sharp, { type Sharp } from 'sharp'
import { concat, latin1, pngChunk, uint32 } from './fixtures.ts'

const COLOR_TYPES = { grey: [0, 1], rgb: [2, 3], palette: [3, 1], greyAlpha: [4, 2], rgba: [6, 4] } as const

/** A black 8-bit PNG of one colour type; small as a file, which memory for the pixels does not depend on. */
export function largePng(width: number, height: number, color: keyof typeof COLOR_TYPES): Uint8Array {
  const [number, channels] = COLOR_TYPES[color]
  const ihdr = concat([uint32(width), uint32(height), Uint8Array.of(8, number, 0, 0, 0)])
  const palette = color === 'palette' ? [pngChunk('PLTE', new Uint8Array(768))] : []
  const data = deflateSync(new Uint8Array((width * channels + 1) * height), { level: 1 })
  const parts = [pngChunk('IHDR', ihdr), ...palette, pngChunk('IDAT', data), pngChunk('IEND', new Uint8Array(0))]
  return concat([latin1('\x89PNG\r\n\x1a\n'), ...parts])
}

/** A picture of slow gradients with some levels of noise, also in alpha, to be encoded by sharp. */
export function largePicture(width: number, height: number, noiseLevels = 24): Sharp {
  const pixels = new Uint8Array(width * height * 4)
  let state = 1
  for (let index = 0; index < pixels.length; index += 4) {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0
    const noise = (state >>> 16) % noiseLevels
    pixels[index] = (index >> 9) + noise
    pixels[index + 1] = (index >> 15) + noise
    pixels[index + 2] = 128 - noise
    pixels[index + 3] = 255 - noise
  }
  return sharp(pixels, { raw: { width, height, channels: 4 } })
}

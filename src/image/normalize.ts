// Bytes to the pixel values the image encoder takes. Knows nothing of decoding or resizing.

import { ShapeMismatchError } from '../errors.ts'

const CHANNELS = 3
const LEVELS = 256

/**
 * (x / 255 - mean) / std per channel, as Hugging Face's PIL image processor computes it: the scaling in double
 * precision, the rest in float32.
 * @param rgb u8 [count, size, size, 3], 0..255
 * @param mean per channel R, G, B, of values in 0..1
 * @param std per channel, same units, not zero
 * @returns pixelValues f32 [count, 3, size, size]
 * @throws ShapeMismatchError when a length does not fit
 */
export function normalizePixels(
  rgb: Uint8Array,
  count: number,
  size: number,
  mean: readonly number[],
  std: readonly number[],
): Float32Array {
  const plane = size * size
  if (rgb.length !== count * plane * CHANNELS) {
    throw new ShapeMismatchError(`rgb: expected [${count}, ${size}, ${size}, 3], got ${rgb.length} bytes`)
  }
  const levels = levelTable(mean, std)
  const pixelValues = new Float32Array(rgb.length)
  for (let item = 0; item < count; item++) {
    const base = item * plane * CHANNELS
    for (let channel = 0; channel < CHANNELS; channel++) {
      const to = base + channel * plane
      for (let pixel = 0; pixel < plane; pixel++) {
        pixelValues[to + pixel] = levels[channel * LEVELS + rgb[base + pixel * CHANNELS + channel]!]!
      }
    }
  }
  return pixelValues
}

/** f32 [3, 256]: what each byte becomes in each channel. */
function levelTable(mean: readonly number[], std: readonly number[]): Float32Array {
  const table = new Float32Array(CHANNELS * LEVELS)
  for (let channel = 0; channel < CHANNELS; channel++) {
    const center = mean[channel]
    const spread = std[channel]
    if (center === undefined || spread === undefined || mean.length !== CHANNELS || std.length !== CHANNELS) {
      throw new ShapeMismatchError(`mean, std: expected [3] and [3], got [${mean.length}] and [${std.length}]`)
    }
    for (let value = 0; value < LEVELS; value++) {
      const centered = Math.fround(Math.fround(value * (1 / 255)) - Math.fround(center))
      table[channel * LEVELS + value] = centered / Math.fround(spread)
    }
  }
  return table
}

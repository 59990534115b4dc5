// PIL's antialiased bicubic resize for 8-bit RGB, bit for bit: two passes with fixed-point weights, rounded to bytes between.
// Reads its source one row at a time and keeps a few rows of sums, so it costs no memory next to the picture.

import { ShapeMismatchError } from '../errors.ts'
import type { PixelRows } from './pixel-rows.ts'

/** `data` is RGB u8 [height, width, 3]. */
export interface RgbImage {
  data: Uint8Array
  width: number
  height: number
}

/** Per output position: the first source position it reads, how many, and their fixed-point weights. */
interface Filter {
  starts: Int32Array
  counts: Int32Array
  /** i32 [outSize, stride], scaled by 2 ** PRECISION_BITS. */
  weights: Int32Array
  stride: number
}

const CHANNELS = 3
/** Keys' cubic parameter as PIL has it; PyTorch and OpenCV use -0.75. */
const CUBIC_A = -0.5
/** Source pixels on each side of the centre that the cubic reaches, before it is widened for downscaling. */
const CUBIC_SUPPORT = 2
/** Pillow's fixed point (`Resample.c`): 32 bits less 8 for the pixel and 2 for overshoot of the weights. */
const PRECISION_BITS = 32 - 8 - 2
const HALF = 1 << (PRECISION_BITS - 1)

/**
 * `Image.resize((width, height), BICUBIC)` of Pillow 13, equal in every byte; the aspect ratio is not kept.
 * @param image RGB u8 [image.height, image.width, 3]
 * @returns RGB u8 [height, width, 3], 0..255
 * @throws ShapeMismatchError when a size is not a positive integer or the data does not fit it
 */
export function resizeBicubic(image: RgbImage, width: number, height: number): Uint8Array {
  const { data } = image
  assertSize('image', image.width, image.height)
  if (data.length !== image.width * image.height * CHANNELS) {
    const expected = `[${image.height}, ${image.width}, 3]`
    throw new ShapeMismatchError(`image.data: expected ${expected}, got ${data.length} bytes`)
  }
  const rowBytes = image.width * CHANNELS
  const readRow = (y: number, out: Uint8Array): void => out.set(data.subarray(y * rowBytes, (y + 1) * rowBytes))
  return resizeRowsBicubic({ width: image.width, height: image.height, readRow }, width, height)
}

/**
 * The same resize from a source that gives one row at a time; each row is asked for at most once, in order.
 * @returns RGB u8 [height, width, 3], 0..255
 * @throws ShapeMismatchError when width or height is not a positive integer
 */
export function resizeRowsBicubic(source: PixelRows, width: number, height: number): Uint8Array {
  assertSize('resize target', width, height)
  const rowBytes = width * CHANNELS
  const out = new Uint8Array(height * rowBytes)
  const outRow = (y: number): Uint8Array => out.subarray(y * rowBytes, (y + 1) * rowBytes)
  // Pillow skips a pass whose size does not change.
  const horizontal = source.width === width ? null : bicubicFilter(source.width, width)
  const vertical = source.height === height ? null : bicubicFilter(source.height, height)
  const sourceRow = new Uint8Array(source.width * CHANNELS)
  const resizeTo = (row: Uint8Array, target: Uint8Array): void => {
    if (horizontal === null) target.set(row)
    else resizeRow(row, target, horizontal)
  }
  const readResized = (y: number, target: Uint8Array): void => {
    source.readRow(y, sourceRow)
    resizeTo(sourceRow, target)
  }
  if (vertical === null) {
    for (let y = 0; y < height; y++) readResized(y, outRow(y))
  } else if (isVerticalFirst(source, width, height)) {
    const readRow = (y: number, row: Uint8Array): void => source.readRow(y, row)
    resizeColumns(vertical, sourceRow.length, source.height, readRow, (y, row) => resizeTo(row, outRow(y)))
  } else {
    resizeColumns(vertical, rowBytes, source.height, readResized, (y, row) => outRow(y).set(row))
  }
  return out
}

/**
 * Pillow's order of passes since 13.0 (python-pillow/Pillow#9549): vertical first when the height shrinks by more than
 * twice what the width does, in pixels; always horizontal first before. Rounding between the passes makes it visible.
 */
function isVerticalFirst(source: PixelRows, width: number, height: number): boolean {
  return source.height > height && source.height - height > 2 * (source.width - width)
}

/**
 * Vertical pass over rows of `rowBytes` bytes: adds each source row to every output row that reads it, and hands an output
 * row over as soon as it is whole. Integer sums do not depend on the order.
 */
function resizeColumns(
  { starts, counts, weights, stride }: Filter,
  rowBytes: number,
  sourceHeight: number,
  readRow: (y: number, row: Uint8Array) => void,
  writeRow: (y: number, row: Uint8Array) => void,
): void {
  const row = new Uint8Array(rowBytes)
  const open: Int32Array[] = []
  const spare: Int32Array[] = []
  let firstOpen = 0
  for (let y = 0; y < sourceHeight && firstOpen < starts.length; y++) {
    readRow(y, row)
    for (let outY = firstOpen; outY < starts.length && starts[outY]! <= y; outY++) {
      const tap = y - starts[outY]!
      const sums = (open[outY - firstOpen] ??= (spare.pop() ?? new Int32Array(rowBytes)).fill(HALF))
      const weight = weights[outY * stride + tap]!
      for (let index = 0; index < rowBytes; index++) sums[index]! += row[index]! * weight
    }
    while (firstOpen < starts.length && starts[firstOpen]! + counts[firstOpen]! <= y + 1) {
      const sums = open.shift()!
      for (let index = 0; index < rowBytes; index++) row[index] = clampToByte(sums[index]! >> PRECISION_BITS)
      writeRow(firstOpen++, row)
      spare.push(sums)
    }
  }
}

/** Horizontal pass over one row: RGB u8 [inSize, 3] to [outSize, 3]. */
function resizeRow(row: Uint8Array, out: Uint8Array, filter: Filter): void {
  const { starts, counts, weights, stride } = filter
  for (let x = 0; x < starts.length; x++) {
    let red = HALF
    let green = HALF
    let blue = HALF
    let from = starts[x]! * CHANNELS
    const firstWeight = x * stride
    for (let tap = firstWeight; tap < firstWeight + counts[x]!; tap++, from += CHANNELS) {
      const weight = weights[tap]!
      red = (red + row[from]! * weight) | 0
      green = (green + row[from + 1]! * weight) | 0
      blue = (blue + row[from + 2]! * weight) | 0
    }
    const to = x * CHANNELS
    out[to] = clampToByte(red >> PRECISION_BITS)
    out[to + 1] = clampToByte(green >> PRECISION_BITS)
    out[to + 2] = clampToByte(blue >> PRECISION_BITS)
  }
}

/** Weights in double precision, normalized to sum 1, then rounded half away from zero, in Pillow's order of operations. */
function bicubicFilter(inSize: number, outSize: number): Filter {
  const scale = inSize / outSize
  const filterScale = Math.max(scale, 1)
  const support = CUBIC_SUPPORT * filterScale
  const stride = Math.ceil(support) * 2 + 1
  const inverse = 1 / filterScale
  const starts = new Int32Array(outSize)
  const counts = new Int32Array(outSize)
  const weights = new Int32Array(outSize * stride)
  const exact = new Float64Array(stride)
  for (let x = 0; x < outSize; x++) {
    const center = (x + 0.5) * scale
    const start = Math.max(Math.trunc(center - support + 0.5), 0)
    const count = Math.min(Math.trunc(center + support + 0.5), inSize) - start
    let total = 0
    for (let tap = 0; tap < count; tap++) {
      const weight = cubic((tap + start - center + 0.5) * inverse)
      exact[tap] = weight
      total += weight
    }
    for (let tap = 0; tap < count; tap++) {
      const weight = (total === 0 ? exact[tap]! : exact[tap]! / total) * (1 << PRECISION_BITS)
      weights[x * stride + tap] = Math.trunc(weight < 0 ? weight - 0.5 : weight + 0.5)
    }
    starts[x] = start
    counts[x] = count
  }
  return { starts, counts, weights, stride }
}

/** Keys' cubic convolution kernel (IEEE ASSP 1981). */
function cubic(distance: number): number {
  const x = Math.abs(distance)
  if (x < 1) return ((CUBIC_A + 2) * x - (CUBIC_A + 3)) * x * x + 1
  if (x < 2) return (((x - 5) * x + 8) * x - 4) * CUBIC_A
  return 0
}

function clampToByte(value: number): number {
  return value < 0 ? 0 : value > 255 ? 255 : value
}

function assertSize(name: string, width: number, height: number): void {
  if (Number.isInteger(width) && Number.isInteger(height) && width > 0 && height > 0) return
  throw new ShapeMismatchError(`${name}: expected a positive whole size, got ${width} x ${height}`)
}

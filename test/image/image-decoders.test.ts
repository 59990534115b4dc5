// The queue and the renewal of decoder instances, seen through WASM memory and the order of results.

import { describe, expect, it } from 'vitest'
import { CorruptImageError } from '../../src/errors.ts'
import { decodeAndResize, decodeImage } from '../../src/image/decode.ts'
import { readImageHeader } from '../../src/image/header.ts'
import { LIMITS, fixture, newDecoders } from './fixtures.ts'
import { largePng } from './large-pictures.ts'

const MEBIBYTE = 1024 * 1024

describe('createImageDecoders', () => {
  it('makes no instance before the first picture and keeps one for the next', async () => {
    const decoders = newDecoders()
    expect(decoders.memoryBytes()).toBe(0)
    await decodeImage(fixture('jpeg-420-q75.jpeg'), decoders, LIMITS)
    const afterJpeg = decoders.memoryBytes()
    expect(afterJpeg).toBeGreaterThan(0)
    await decodeImage(fixture('jpeg-444-q90.jpeg'), decoders, LIMITS)
    expect(decoders.memoryBytes()).toBe(afterJpeg)
    await decodeImage(fixture('png-rgb-8.png'), decoders, LIMITS)
    expect(decoders.memoryBytes()).toBeLessThan(4 * MEBIBYTE)
  })

  it('drops its instance after a throw of the decoder, of the visitor, and after a large picture', async () => {
    const decoders = newDecoders()
    const jpeg = fixture('jpeg-420-q75.jpeg')
    const closed = jpeg.slice()
    closed.fill(0, jpeg.length / 2, jpeg.length - 2)
    await expect(decodeImage(closed, decoders, LIMITS)).rejects.toThrow(CorruptImageError)
    expect(decoders.memoryBytes()).toBe(0)

    const fail = (): never => {
      throw new RangeError('visitor')
    }
    for (const file of ['png-rgb-8.png', 'jpeg-420-q75.jpeg', 'webp-q80.webp']) {
      const bytes = fixture(file)
      await decodeImage(bytes, decoders, LIMITS)
      expect(decoders.memoryBytes()).toBeGreaterThan(0)
      await expect(decoders.decode(readImageHeader(bytes), bytes, fail)).rejects.toThrow('visitor')
      expect(decoders.memoryBytes()).toBe(0)
    }

    await decodeAndResize(largePng(4000, 2000, 'rgba'), decoders, LIMITS, 8)
    expect(decoders.memoryBytes()).toBe(0)
    await decodeImage(jpeg, decoders, LIMITS)
    expect(decoders.memoryBytes()).toBeGreaterThan(0)
  })

  it('decodes one picture at a time, in order, and goes on after failures', async () => {
    const decoders = newDecoders()
    const order: string[] = []
    const decode = async (file: string): Promise<void> => {
      const bytes = fixture(file)
      await decoders.decode(readImageHeader(bytes), bytes, () => order.push(file))
    }
    const files = ['jpeg-420-q75.jpeg', 'webp-q80.webp', 'png-rgb-8.png', 'webp-1x1.webp']
    const flipped = fixture('resize-72x72.png').fill(0, 200, 400)
    const failure = decodeImage(flipped, decoders, LIMITS)
    const rest = files.map(decode)
    await expect(failure).rejects.toThrow(CorruptImageError)
    await Promise.all(rest)
    expect(order).toEqual(files)
  })

  it('refuses data that decodes to another size than its header says', async () => {
    const bytes = fixture('jpeg-420-q75.jpeg')
    const header = readImageHeader(bytes)
    const lie = newDecoders().decode({ ...header, width: header.width + 1 }, bytes, () => 0)
    await expect(lie).rejects.toThrow('damaged JPEG: expected 91 x 70, decoded 90 x 70')
  })

  it('leaves ImageData and Uint8ClampedArray as it found them, also after a throw', async () => {
    const before = [Object.getOwnPropertyDescriptor(globalThis, 'ImageData'), globalThis.Uint8ClampedArray]
    const decoders = newDecoders()
    await decodeImage(fixture('jpeg-420-q75.jpeg'), decoders, LIMITS)
    await decodeImage(fixture('webp-q80.webp').fill(0, 60), decoders, LIMITS).catch(() => undefined)
    expect([Object.getOwnPropertyDescriptor(globalThis, 'ImageData'), globalThis.Uint8ClampedArray]).toEqual(before)
  })
})

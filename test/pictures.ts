// Procedural pictures for tests: the same seed gives the same pixels.

import sharp from 'sharp'

export type PictureFormat = 'png' | 'jpeg' | 'webp'

/** A square of smooth colour waves. */
export async function makePicture(format: PictureFormat, size = 48, seed = 1): Promise<Uint8Array> {
  const rgb = new Uint8Array(size * size * 3)
  for (let i = 0; i < rgb.length; i++) {
    const [x, y, channel] = [Math.floor(i / 3) % size, Math.floor(i / (3 * size)), i % 3]
    rgb[i] = Math.round(127 + 127 * Math.sin((x * (channel + seed)) / 9 + (y * seed) / 5))
  }
  const picture = sharp(rgb, { raw: { width: size, height: size, channels: 3 } }).toFormat(format, { quality: 95 })
  return new Uint8Array(await picture.toBuffer())
}

/** The decoded pixels of any picture as a PNG; libvips decodes here, not the decoders under test. */
export async function toPng(picture: Uint8Array): Promise<Uint8Array> {
  return new Uint8Array(await sharp(picture).png().toBuffer())
}

/** A one-colour PNG of any size: small in bytes, large in pixels. */
export async function makePlainPng(width: number, height: number): Promise<Uint8Array> {
  const plain = sharp({ create: { width, height, channels: 3, background: '#808080' }, limitInputPixels: false })
  return new Uint8Array(await plain.png({ compressionLevel: 9 }).toBuffer())
}

export function toBase64(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('base64')
}

export function toDataUri(format: PictureFormat, bytes: Uint8Array): string {
  return `data:image/${format};base64,${toBase64(bytes)}`
}

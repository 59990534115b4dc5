// The image codecs of src/image in Node: compiled from the installed packages, as the pixels Worker imports them.
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { createImageDecoders, type ImageDecoders } from '../../src/image/image-decoders.ts'

const CODECS = join(import.meta.dirname, '../../node_modules/@jsquash')

export async function loadImageDecoders(): Promise<ImageDecoders> {
  const compile = async (path: string) => WebAssembly.compile(await readFile(join(CODECS, path)))
  return createImageDecoders({
    png: await compile('png/codec/pkg/squoosh_png_bg.wasm'),
    jpeg: await compile('jpeg/codec/dec/mozjpeg_dec.wasm'),
    webp: await compile('webp/codec/dec/webp_dec.wasm'),
  })
}

// The PNG decoder of @jsquash/png (Rust's png crate in WASM) behind PixelDecoder. The package's own glue keeps one instance
// for the life of the module and copies the picture; this glue owns its instance and lends the pixels out.

import { CorruptImageError } from '../errors.ts'
import type { PixelDecoder } from './pixel-decoder.ts'
import type { PngColorType } from './png-header.ts'
import { pngPixelParts } from './png-header.ts'
import type { RgbaPixels } from './pixel-rows.ts'

interface PngExports {
  memory: WebAssembly.Memory
  decode: (ptr: number, length: number) => number
  malloc: (bytes: number, align: number) => number
  free: (ptr: number, bytes: number, align: number) => void
}

/** wasm-bindgen names imports by function plus a hash of its build; this one is `new ImageData(rgba, width, height)`. */
const NEW_IMAGE_DATA = '__wbg_newwithownedu8clampedarrayandsh_'

/**
 * Transparency chunks given to pictures that have none, and whose alpha is then ignored. Without one the codec decodes to RGB
 * and copies to RGBA, 9.2 bytes a pixel; with one it decodes to RGBA at once, 4.2 (both measured, @jsquash/png 3.1.1).
 */
const OPAQUE_TRANSPARENCY: ReadonlyMap<PngColorType, Uint8Array> = new Map([
  ['rgb', Uint8Array.of(0, 0, 0, 6, 0x74, 0x52, 0x4e, 0x53, 0, 0, 0, 0, 0, 0, 0x6e, 0xa6, 0x07, 0x91)],
  ['palette', Uint8Array.of(0, 0, 0, 1, 0x74, 0x52, 0x4e, 0x53, 0xff, 0x6d, 0xe4, 0x37, 0xeb)],
])

/** @param module the compiled `@jsquash/png/codec/pkg/squoosh_png_bg.wasm` */
export function createPngDecoder(module: WebAssembly.Module): PixelDecoder {
  let onPixels: (ptr: number, length: number, width: number, height: number) => void = () => undefined
  const wbg: Record<string, WebAssembly.ImportValue> = {}
  for (const { name } of WebAssembly.Module.imports(module)) {
    if (name.startsWith(NEW_IMAGE_DATA)) {
      wbg[name] = (ptr: number, length: number, width: number, height: number): number => {
        onPixels(ptr >>> 0, length >>> 0, width >>> 0, height >>> 0)
        return 0
      }
    } else if (name === '__wbindgen_throw') {
      wbg[name] = (): never => {
        throw new CorruptImageError('image: damaged PNG: its data does not decode')
      }
    } else {
      // Reached only by the 16-bit entry point, which is not used; dropping a reference is nothing, as none are kept.
      wbg[name] = (): number => 0
    }
  }
  const wasm = asPngExports(new WebAssembly.Instance(module, { wbg }).exports)

  function decode(bytes: Uint8Array, visit: (pixels: RgbaPixels) => void): void {
    // Other chunks stay out: a colour profile or text can inflate to many times its size, and none of it is used.
    const { colorType, beforeData, data, hasTransparency } = pngPixelParts(bytes)
    const opaqueChunk = hasTransparency ? undefined : OPAQUE_TRANSPARENCY.get(colorType)
    const parts = opaqueChunk === undefined ? [...beforeData, ...data] : [...beforeData, opaqueChunk, ...data]
    const length = parts.reduce((sum, part) => sum + part.length, 0)
    const ptr = wasm.malloc(length, 1) >>> 0
    writeParts(parts, new Uint8Array(wasm.memory.buffer, ptr, length))
    onPixels = (pixelsPtr, pixelsLength, width, height) => {
      const isOpaque = opaqueChunk !== undefined
      visit({ data: new Uint8Array(wasm.memory.buffer, pixelsPtr, pixelsLength), width, height, isOpaque })
      wasm.free(pixelsPtr, pixelsLength, 1)
    }
    try {
      wasm.decode(ptr, length)
    } catch (cause) {
      if (cause instanceof WebAssembly.RuntimeError) {
        throw new CorruptImageError('image: damaged PNG: the decoder gave up', { cause })
      }
      throw cause
    } finally {
      onPixels = () => undefined
    }
  }

  return { decode, memoryBytes: () => wasm.memory.buffer.byteLength }
}

function writeParts(parts: readonly Uint8Array[], out: Uint8Array): void {
  let position = 0
  for (const part of parts) {
    out.set(part, position)
    position += part.length
  }
}

function asPngExports(exports: WebAssembly.Exports): PngExports {
  const { memory, decode, __wbindgen_malloc: malloc, __wbindgen_free: free } = exports
  if (
    !(memory instanceof WebAssembly.Memory) ||
    typeof decode !== 'function' ||
    typeof malloc !== 'function' ||
    typeof free !== 'function'
  ) {
    throw new TypeError('png decoder: expected the exports of @jsquash/png 3.1.1')
  }
  return {
    memory,
    decode: decode as PngExports['decode'],
    malloc: malloc as PngExports['malloc'],
    free: free as PngExports['free'],
  }
}

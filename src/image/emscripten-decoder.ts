// The JPEG and WebP decoders of @jsquash (mozjpeg and libwebp, built by Emscripten) behind PixelDecoder. Their packages keep
// one instance for the life of the module; calling the codec factories directly makes instances that can be dropped.

import jpegFactory from '@jsquash/jpeg/codec/dec/mozjpeg_dec.js'
import webpFactory from '@jsquash/webp/codec/dec/webp_dec.js'
import { CorruptImageError } from '../errors.ts'
import type { PixelDecoder } from './pixel-decoder.ts'
import type { RgbaPixels } from './pixel-rows.ts'

/** Embind checks the number of arguments: mozjpeg's decode takes two, libwebp's one. */
interface Codec<Args extends readonly unknown[]> {
  decode(bytes: Uint8Array, ...args: Args): unknown
}

interface CodecOptions {
  noInitialRun: boolean
  print: (line: string) => void
  printErr: (line: string) => void
  instantiateWasm: (
    imports: WebAssembly.Imports,
    onInstance: (instance: WebAssembly.Instance) => void,
  ) => WebAssembly.Exports
}

type CodecFactory<Args extends readonly unknown[]> = (options: CodecOptions) => Promise<Codec<Args>>

/** The classes the codecs look up on globalThis by name, once per instance, to hand over their pixels. */
interface PixelClasses {
  Uint8ClampedArray: unknown
  ImageData: unknown
}

/** libjpeg reports the first warning only; more lines than this come from a fault in the codec itself. */
const MAX_LINES = 8

/** @param module the compiled `@jsquash/jpeg/codec/dec/mozjpeg_dec.wasm` */
export async function createJpegDecoder(module: WebAssembly.Module): Promise<PixelDecoder> {
  const preserveOrientation = false
  return createDecoder<[boolean]>('JPEG', jpegFactory, module, [preserveOrientation])
}

/** @param module the compiled `@jsquash/webp/codec/dec/webp_dec.wasm` */
export async function createWebpDecoder(module: WebAssembly.Module): Promise<PixelDecoder> {
  return createDecoder<[]>('WebP', webpFactory, module, [])
}

async function createDecoder<Args extends readonly unknown[]>(
  name: string,
  factory: CodecFactory<Args>,
  module: WebAssembly.Module,
  args: Args,
): Promise<PixelDecoder> {
  const lines: string[] = []
  let memory: WebAssembly.Memory | undefined
  let onPixels: (pixels: RgbaPixels) => void = () => undefined
  const classes = pixelClasses((pixels) => onPixels(pixels))
  const codec = await withGlobals(classes, () =>
    factory({
      noInitialRun: true,
      print: () => undefined,
      printErr: (line) => void (lines.length < MAX_LINES && lines.push(line)),
      instantiateWasm: (imports, onInstance) => {
        const instance = new WebAssembly.Instance(module, imports)
        memory = Object.values(instance.exports).find((value) => value instanceof WebAssembly.Memory)
        onInstance(instance)
        return instance.exports
      },
    }),
  )
  const held = memory
  if (held === undefined) throw new TypeError(`${name} decoder: expected a WASM module that exports its memory`)

  function decode(bytes: Uint8Array, visit: (pixels: RgbaPixels) => void): void {
    lines.length = 0
    let isDecoded = false
    onPixels = (pixels) => {
      // A warning means that part of the picture is made up: libjpeg fills what it misses with grey.
      if (lines.length > 0) return
      isDecoded = true
      visit(pixels)
    }
    try {
      withGlobals(classes, () => codec.decode(bytes, ...args))
    } catch (cause) {
      throw damaged(name, lines, cause)
    } finally {
      onPixels = () => undefined
    }
    if (!isDecoded || lines.length > 0) throw damaged(name, lines)
  }

  return { decode, memoryBytes: () => held.buffer.byteLength }
}

/**
 * Stand-ins for `new ImageData(new Uint8ClampedArray(view), width, height)`, the codecs' last step: Workers have no
 * ImageData, and the real array would copy the whole picture (4 bytes a pixel) out of WASM memory.
 */
function pixelClasses(onPixels: (pixels: RgbaPixels) => void): PixelClasses {
  class BorrowedBytes {
    constructor(view: Uint8Array) {
      // A constructor may return another object: here the view itself, so that nothing is copied.
      return view
    }
  }
  class BorrowedImage {
    constructor(data: Uint8Array, width: number, height: number) {
      onPixels({ data, width, height, isOpaque: false })
    }
  }
  return { Uint8ClampedArray: BorrowedBytes, ImageData: BorrowedImage }
}

/** Runs `action` with the stand-ins in place. It is synchronous, so no other code can see them. */
function withGlobals<T>(classes: PixelClasses, action: () => T): T {
  const names = ['Uint8ClampedArray', 'ImageData'] as const
  const before = names.map((name) => ({ name, descriptor: Object.getOwnPropertyDescriptor(globalThis, name) }))
  for (const name of names) {
    Object.defineProperty(globalThis, name, { value: classes[name], configurable: true, writable: true })
  }
  try {
    return action()
  } finally {
    for (const { name, descriptor } of before) {
      if (descriptor === undefined) Reflect.deleteProperty(globalThis, name)
      else Object.defineProperty(globalThis, name, descriptor)
    }
  }
}

function damaged(name: string, lines: readonly string[], cause?: unknown): CorruptImageError {
  const reason = lines[0] ?? 'its data does not decode'
  return new CorruptImageError(`image: damaged ${name}: ${reason}`, cause === undefined ? {} : { cause })
}

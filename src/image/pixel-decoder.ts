// What a WASM decoder is to the rest of this folder: encoded bytes in, a look at its pixels in WASM memory, nothing kept.

import type { RgbaPixels } from './pixel-rows.ts'

/** One instance of one format's decoder. Any throw leaves it unusable: its WASM heap may be torn or leaking. */
export interface PixelDecoder {
  /**
   * Decodes and shows the pixels to `visit` while they lie in the decoder's own memory, which saves a copy of the picture.
   * `visit` must not keep `pixels.data` and is called at most once, synchronously.
   * @throws CorruptImageError when the bytes do not decode completely; what a throw of `visit` becomes is not defined
   */
  decode(bytes: Uint8Array, visit: (pixels: RgbaPixels) => void): void
  /** Bytes of WASM memory held; never falls during an instance's life. */
  memoryBytes(): number
}

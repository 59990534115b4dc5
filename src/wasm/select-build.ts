// Which of the two kernel builds this engine can run. Knows nothing of the kernels themselves.

export type KernelBuild = 'relaxed-simd' | 'simd128'

/**
 * (module (func (result v128)
 *   (i16x8.relaxed_dot_i8x16_i7x16_s (i8x16.splat (i32.const 0)) (i8x16.splat (i32.const 0)))))
 */
// prettier-ignore
const RELAXED_SIMD_PROBE = new Uint8Array([
  0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00, // "\0asm", version 1
  0x01, 0x05, 0x01, 0x60, 0x00, 0x01, 0x7b, //       type section: [] -> [v128]
  0x03, 0x02, 0x01, 0x00, //                         function section: one function of that type
  0x0a, 0x0f, 0x01, 0x0d, 0x00, //                   code section: one body of 13 bytes, no locals
  0x41, 0x00, 0xfd, 0x0f, //                         i32.const 0, i8x16.splat
  0x41, 0x00, 0xfd, 0x0f, //                         i32.const 0, i8x16.splat
  0xfd, 0x92, 0x02, 0x0b, //                         relaxed dot (0x112), end
])

/** The faster build where the engine validates relaxed SIMD, the plain SIMD128 one elsewhere. Their results are equal. */
export function selectKernelBuild(): KernelBuild {
  return WebAssembly.validate(RELAXED_SIMD_PROBE) ? 'relaxed-simd' : 'simd128'
}

// Quantized activations in linear memory: where their parts lie, and room for them in an arena.
import type { Arena } from './arena.ts'
import { expectCount } from './expect-shape.ts'
import { K_STEP } from './pack.ts'
import { padRows } from './scratch-bytes.ts'

const F32 = 4

/** Activations as the GEMM reads them: int8 rows in blocks of 4, one scale per row. */
export interface QuantizedRows {
  /** i8 [ceil(m/4)][k/4][4 rows][4 k] (pack.ts draws it). */
  readonly dataPtr: number
  /** f32 [ceil4(m)]. */
  readonly scalePtr: number
  readonly m: number
  readonly k: number
}

/** Room for `m` quantized rows, padded to whole blocks of 4. */
export function allocQuantizedRows(arena: Arena, m: number, k: number): QuantizedRows {
  expectCount('m', m)
  expectCount('k', k, K_STEP)
  const paddedRows = padRows(m)
  return {
    dataPtr: arena.alloc(paddedRows * k),
    scalePtr: arena.alloc(paddedRows * F32),
    m,
    k,
  }
}

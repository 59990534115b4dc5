// Turns the encoder's float32 vectors into what the caller asked for: unit length, int8, packed bits.

import { l2Normalize } from '../flava/l2-normalize.ts'

export type OutputDtype = 'float' | 'int8' | 'ubinary'

/** values: f32 [rows, rowLength] -> each row of L2 norm 1; a new array. */
export function normalizeRows(values: Float32Array, rowLength: number): Float32Array {
  const normalized = new Float32Array(values.length)
  for (let start = 0; start < values.length; start += rowLength) {
    normalized.set(l2Normalize(values.subarray(start, start + rowLength)), start)
  }
  return normalized
}

/** Symmetric int8 of values in [-1, 1]: round(127 x), so a unit vector's components divide by 127 to come back. */
export function toInt8(values: Float32Array): Int8Array {
  return Int8Array.from(values, (value) => Math.max(-127, Math.min(127, Math.round(value * 127))))
}

/** One bit a value, 1 where it is above zero, most significant bit first. values.length must be a multiple of 8. */
export function toUbinary(values: Float32Array): Uint8Array {
  const bytes = new Uint8Array(values.length / 8)
  for (let i = 0; i < values.length; i++) {
    if ((values[i] ?? 0) > 0) bytes[i >> 3] = (bytes[i >> 3] ?? 0) | (0x80 >> (i & 7))
  }
  return bytes
}

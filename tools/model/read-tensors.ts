// A whole safetensors file in memory, for the small ones that tools and tests compare with.
import { readFile } from 'node:fs/promises'
import { basename } from 'node:path'
import { createSafetensorsParser } from '../../src/flava/safetensors.ts'
import type { TensorEntry } from '../../src/flava/safetensors.ts'

export interface FileTensor extends TensorEntry {
  bytes: Uint8Array
}

/** All tensors of a file by name. */
export async function readTensors(path: string): Promise<ReadonlyMap<string, FileTensor>> {
  const tensors = new Map<string, FileTensor>()
  const parser = createSafetensorsParser(basename(path), {
    onHeader({ tensors: entries }) {
      for (const entry of entries) {
        tensors.set(entry.name, { ...entry, bytes: new Uint8Array(entry.endBytes - entry.beginBytes) })
      }
    },
    onBytes({ name }, offsetBytes, bytes) {
      tensors.get(name)?.bytes.set(bytes, offsetBytes)
    },
  })
  parser.push(await readFile(path))
  parser.end()
  return tensors
}

/** An f32 tensor's values; throws when it is missing or of another type. */
export function floatValues(tensors: ReadonlyMap<string, FileTensor>, name: string): Float32Array {
  const tensor = tensors.get(name)
  if (tensor?.dtype !== 'F32') throw new Error(`${name}: expected an F32 tensor, got ${tensor?.dtype ?? 'nothing'}`)
  return new Float32Array(tensor.bytes.buffer)
}

/** The rows of a 2-D f32 tensor, as views. */
export function floatRows(tensors: ReadonlyMap<string, FileTensor>, name: string): Float32Array[] {
  const values = floatValues(tensors, name)
  const [count = 0, size = 0] = tensors.get(name)?.shape ?? []
  return Array.from({ length: count }, (_, row) => values.subarray(row * size, (row + 1) * size))
}

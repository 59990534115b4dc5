// Reads single tensors of a Hugging Face checkpoint in one model.safetensors, as f32, without holding the file.
import { createHash } from 'node:crypto'
import { open } from 'node:fs/promises'
import type { FileHandle } from 'node:fs/promises'
import { join } from 'node:path'
import { z } from 'zod'

const entrySchema = z.object({
  dtype: z.enum(['F32', 'F16', 'BF16', 'I64', 'BOOL']),
  shape: z.array(z.int().nonnegative()),
  data_offsets: z.tuple([z.int().nonnegative(), z.int().nonnegative()]),
})

export interface CheckpointTensors {
  /** Of the header and the file's size and time: changes with the weights. */
  readonly stamp: string
  /** By FlavaModel's name; FlavaForPreTraining's prefix is added where the file has it. */
  read(name: string): Promise<Float32Array>
  close(): Promise<void>
}

export async function openCheckpoint(directory: string): Promise<CheckpointTensors> {
  const path = join(directory, 'model.safetensors')
  const file = await open(path)
  const [length] = new BigUint64Array(await readBytes(file, 0, 8))
  const headerBytes = Buffer.from(await readBytes(file, 8, Number(length)))
  const header = z.record(z.string(), z.unknown()).parse(JSON.parse(headerBytes.toString('utf8')))
  const { size, mtimeMs } = await file.stat()
  return {
    stamp: createHash('sha256').update(headerBytes).update(`${size} ${mtimeMs}`).digest('hex'),
    async read(name) {
      const entry = entrySchema.safeParse(header[name] ?? header[`flava.${name}`])
      if (!entry.success) throw new Error(`${path}: ${name}: expected a tensor`, { cause: entry.error })
      const [begin, end] = entry.data.data_offsets
      return toFloats(entry.data.dtype, await readBytes(file, 8 + Number(length) + begin, end - begin))
    },
    close: () => file.close(),
  }
}

async function readBytes(file: FileHandle, position: number, length: number): Promise<ArrayBuffer> {
  const out = new Uint8Array(length)
  let filled = 0
  while (filled < length) {
    const { bytesRead } = await file.read(out, filled, length - filled, position + filled)
    if (bytesRead === 0) throw new Error(`model.safetensors: truncated at byte ${position + filled}`)
    filled += bytesRead
  }
  return out.buffer
}

function toFloats(dtype: z.infer<typeof entrySchema>['dtype'], buffer: ArrayBuffer): Float32Array {
  switch (dtype) {
    case 'F32':
      return new Float32Array(buffer)
    case 'BF16':
      return new Float32Array(Uint32Array.from(new Uint16Array(buffer), (bits) => bits << 16).buffer)
    case 'F16':
      return Float32Array.from(new Uint16Array(buffer), halfToFloat)
    case 'I64':
    case 'BOOL':
      throw new Error(`model.safetensors: expected a tensor of floats, got ${dtype}`)
  }
}

function halfToFloat(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1
  const exponent = (bits >> 10) & 31
  const fraction = bits & 1023
  if (exponent === 31) return fraction ? Number.NaN : sign * Number.POSITIVE_INFINITY
  return exponent === 0 ? sign * fraction * 2 ** -24 : sign * (1024 + fraction) * 2 ** (exponent - 25)
}

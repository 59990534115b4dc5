// Reads the safetensors format as a stream, in chunks of any size, without ever holding the file.
// Format: https://github.com/huggingface/safetensors (u64 header length, JSON header, tensor bytes). Knows no FLAVA.
import { z } from 'zod'
import { ModelPackageError } from '../errors.ts'
import { BYTES_PER_ELEMENT } from '../wasm/schemes.ts'
import type { StoredDtype } from '../wasm/schemes.ts'

export interface TensorEntry {
  name: string
  dtype: StoredDtype
  shape: readonly number[]
  /** Where the tensor begins and ends, in bytes after the header. */
  beginBytes: number
  endBytes: number
}

export interface SafetensorsHeader {
  metadata: Readonly<Record<string, string>>
  /** In the order of the file. */
  tensors: readonly TensorEntry[]
}

/** Takes what the parser finds. Bytes are a view of the caller's chunk: copy them before returning. */
export interface SafetensorsSink {
  onHeader(header: SafetensorsHeader): void
  onBytes(tensor: TensorEntry, offsetBytes: number, bytes: Uint8Array): void
}

export interface SafetensorsParser {
  push(chunk: Uint8Array): void
  /** @throws ModelPackageError when bytes are missing */
  end(): void
}

const LENGTH_BYTES = 8
/** A header of flava-full's size is 60 KiB; anything near this limit is not one of our files. */
const MAX_HEADER_BYTES = 4 * 1024 * 1024
const OPENING_BRACE = 0x7b

const count = z.int().nonnegative()
const entrySchema = z.object({
  dtype: z.enum(['U8', 'I8', 'BF16', 'F32']),
  shape: z.array(count),
  data_offsets: z.tuple([count, count]),
})
const headerSchema = z.record(z.string(), z.unknown())
const metadataSchema = z.record(z.string(), z.string()).default({})

/**
 * A push parser for one file.
 * @param file name of the file, for messages
 * @throws ModelPackageError (from push and end) when the bytes are not a whole and exact safetensors file
 */
export function createSafetensorsParser(file: string, sink: SafetensorsSink): SafetensorsParser {
  let head: Uint8Array = new Uint8Array(LENGTH_BYTES)
  let headFilled = 0
  let isLengthKnown = false
  let header: SafetensorsHeader | undefined
  let dataOffset = 0
  let tensorIndex = 0

  /** Returns how many bytes of the chunk belonged to the length field and header. */
  function pushHead(chunk: Uint8Array): number {
    const taken = chunk.subarray(0, head.length - headFilled)
    head.set(taken, headFilled)
    headFilled += taken.length
    if (headFilled < head.length) return taken.length
    if (isLengthKnown) {
      header = parseHeader(file, head)
      sink.onHeader(header)
    } else {
      head = new Uint8Array(headerLength(file, head))
      headFilled = 0
      isLengthKnown = true
    }
    return taken.length
  }

  function pushData({ tensors }: SafetensorsHeader, chunk: Uint8Array): void {
    let position = 0
    while (position < chunk.length) {
      const tensor = tensors[tensorIndex]
      if (!tensor)
        throw new ModelPackageError(`${file}: ${chunk.length - position} or more bytes after the last tensor`)
      const bytes = chunk.subarray(position, position + tensor.endBytes - dataOffset)
      if (bytes.length > 0) sink.onBytes(tensor, dataOffset - tensor.beginBytes, bytes)
      position += bytes.length
      dataOffset += bytes.length
      if (dataOffset === tensor.endBytes) tensorIndex += 1
    }
  }

  return {
    push(chunk) {
      let rest = chunk
      while (header === undefined && rest.length > 0) rest = rest.subarray(pushHead(rest))
      if (header) pushData(header, rest)
    },
    end() {
      if (!header) throw new ModelPackageError(`${file}: truncated inside its header, after ${headFilled} bytes of it`)
      const expected = header.tensors.at(-1)?.endBytes ?? 0
      if (dataOffset === expected) return
      const at = header.tensors[tensorIndex]?.name
      throw new ModelPackageError(`${file}: truncated in ${at}: expected ${expected} tensor bytes, got ${dataOffset}`)
    },
  }
}

function headerLength(file: string, head: Uint8Array): number {
  const length = new DataView(head.buffer, head.byteOffset, LENGTH_BYTES).getBigUint64(0, true)
  if (length < 2n || length > BigInt(MAX_HEADER_BYTES)) {
    throw new ModelPackageError(`${file}: not a safetensors file: header length ${length}, at most ${MAX_HEADER_BYTES}`)
  }
  return Number(length)
}

function parseHeader(file: string, bytes: Uint8Array): SafetensorsHeader {
  if (bytes[0] !== OPENING_BRACE) throw new ModelPackageError(`${file}: not a safetensors file: header is not JSON`)
  const fields = parseFields(file, bytes)
  const { __metadata__, ...entries } = fields
  const metadata = metadataSchema.safeParse(__metadata__)
  if (!metadata.success)
    throw new ModelPackageError(`${file}: __metadata__: expected strings`, { cause: metadata.error })
  const tensors = Object.entries(entries)
    .map(([name, value]) => parseEntry(file, name, value))
    .toSorted((a, b) => a.beginBytes - b.beginBytes || a.endBytes - b.endBytes)
  let expectedBegin = 0
  for (const tensor of tensors) {
    if (tensor.beginBytes !== expectedBegin) {
      throw new ModelPackageError(`${file}: ${tensor.name}: expected offset ${expectedBegin}, got ${tensor.beginBytes}`)
    }
    expectedBegin = tensor.endBytes
  }
  return { metadata: metadata.data, tensors }
}

function parseFields(file: string, bytes: Uint8Array): Record<string, unknown> {
  try {
    return headerSchema.parse(JSON.parse(new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes)))
  } catch (cause) {
    throw new ModelPackageError(`${file}: not a safetensors file: header is not a JSON object`, { cause })
  }
}

function parseEntry(file: string, name: string, value: unknown): TensorEntry {
  const parsed = entrySchema.safeParse(value)
  if (!parsed.success) {
    const [issue] = parsed.error.issues
    const field = issue?.path.join('.') || 'entry'
    throw new ModelPackageError(`${file}: ${name}: ${field}: ${issue?.message}`, { cause: parsed.error })
  }
  const { dtype, shape, data_offsets: offsets } = parsed.data
  const [beginBytes, endBytes] = offsets
  const expected = shape.reduce((product, length) => product * length, BYTES_PER_ELEMENT[dtype])
  if (endBytes - beginBytes !== expected) {
    const shapeText = `${dtype} [${shape.join(', ')}]`
    throw new ModelPackageError(`${file}: ${name}: ${shapeText} takes ${expected} bytes, got ${endBytes - beginBytes}`)
  }
  return { name, dtype, shape, beginBytes, endBytes }
}

// One file of a model package: what the manifest promises of it, and the reading that holds it to the promise.
// Knows neither where the bytes come from nor what they mean.
import { ModelContentError, ModelPackageError, ModelUnavailableError } from '../errors.ts'

/** What config.json says of a file. */
export interface PackageFile {
  name: string
  /** Lower-case hex. */
  sha256: string
  sizeBytes: number
}

/** A hash of bytes that arrive in pieces; platform/digest.ts and tools/model have one each. */
export interface IncrementalDigest {
  update(bytes: Uint8Array): Promise<void>
  /** The hash of all bytes so far, lower-case hex; ends the digest. */
  hex(): Promise<string>
}

export type CreateDigest = () => IncrementalDigest

/**
 * Reads a file to its end, one chunk at a time: the next is asked for when `take` has had the last one. Nothing that
 * `take` was given may be used before the promise is fulfilled, since the hash is only known then.
 * @param stream all bytes of the file, in chunks of any size; cancelled when anything fails
 * @returns the length of the largest chunk
 * @throws ModelContentError for another length or sha256, ModelUnavailableError when the stream breaks off, and
 * whatever `take` throws
 */
export async function readVerified(
  stream: ReadableStream<Uint8Array>,
  file: PackageFile,
  createDigest: CreateDigest,
  take: (chunk: Uint8Array) => void,
): Promise<{ largestChunkBytes: number }> {
  const digest = createDigest()
  let sizeBytes = 0
  let largestChunkBytes = 0
  for await (const chunk of chunksOf(stream, file.name)) {
    sizeBytes += chunk.length
    largestChunkBytes = Math.max(largestChunkBytes, chunk.length)
    if (sizeBytes > file.sizeBytes) {
      throw new ModelContentError(`${file.name}: expected ${file.sizeBytes} bytes, got more`)
    }
    await digest.update(chunk)
    take(chunk)
  }
  const got = await digest.hex()
  if (sizeBytes !== file.sizeBytes) {
    throw new ModelContentError(`${file.name}: truncated: expected ${file.sizeBytes} bytes, got ${sizeBytes}`)
  }
  if (got !== file.sha256) {
    throw new ModelContentError(`${file.name}: sha256: expected ${file.sha256}, got ${got}`)
  }
  return { largestChunkBytes }
}

/** The whole of a small file, verified; memory grows with what arrives, whatever was promised. @throws as readVerified */
export async function readWhole(
  stream: ReadableStream<Uint8Array>,
  file: PackageFile,
  createDigest: CreateDigest,
): Promise<Uint8Array> {
  const chunks: Uint8Array[] = []
  // A chunk is only valid until the next one is asked for.
  await readVerified(stream, file, createDigest, (chunk) => void chunks.push(chunk.slice()))
  return joined(chunks)
}

/** The whole of a small file that nothing vouches for. @throws ModelPackageError past `maxBytes`, ModelUnavailableError */
export async function readUnverified(
  stream: ReadableStream<Uint8Array>,
  name: string,
  maxBytes: number,
): Promise<Uint8Array> {
  const chunks: Uint8Array[] = []
  let sizeBytes = 0
  for await (const chunk of chunksOf(stream, name)) {
    sizeBytes += chunk.length
    if (sizeBytes > maxBytes) throw new ModelPackageError(`${name}: expected at most ${maxBytes} bytes, got more`)
    chunks.push(chunk.slice())
  }
  return joined(chunks)
}

/** @throws ModelPackageError naming the file */
export function parseJson(file: string, bytes: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes))
  } catch (cause) {
    throw new ModelPackageError(`${file}: expected JSON in UTF-8`, { cause })
  }
}

function joined(chunks: readonly Uint8Array[]): Uint8Array {
  const bytes = new Uint8Array(chunks.reduce((sum, { length }) => sum + length, 0))
  let position = 0
  for (const chunk of chunks) {
    bytes.set(chunk, position)
    position += chunk.length
  }
  return bytes
}

async function* chunksOf(stream: ReadableStream<Uint8Array>, name: string): AsyncGenerator<Uint8Array, void, void> {
  const reader = stream.getReader()
  let readBytes = 0
  let isOver = false
  try {
    for (;;) {
      const next = await read(reader, name, readBytes)
      if (next.done) break
      readBytes += next.value.length
      yield next.value
    }
    isOver = true
  } finally {
    // A source that failed has nothing left to say: the first failure is the one to report.
    if (!isOver) await reader.cancel().catch(() => undefined)
  }
}

async function read(
  reader: ReadableStreamDefaultReader<Uint8Array>,
  name: string,
  readBytes: number,
): Promise<ReadableStreamReadResult<Uint8Array>> {
  try {
    return await reader.read()
  } catch (cause) {
    throw new ModelUnavailableError(`${name}: its source broke off after ${readBytes} bytes`, { cause })
  }
}

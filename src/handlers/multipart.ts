// Reads a multipart/form-data body as it arrives: small fields are kept, the one file goes on as a stream, and the body is
// read no faster than the file is taken.

import { Busboy, type BusboyFileStream, type BusboyInstance } from '@fastify/busboy'
import { BodyTooLargeError, InvalidInputError, UnsupportedMediaTypeError } from '../errors.ts'
import { inPieces } from '../services/byte-pieces.ts'
import type { AppContext } from './context.ts'

/** Boundaries, headers and the fields beside the file. */
const MAX_ENVELOPE_BYTES = 256 * 1024
const LIMITS = { fields: 16, fieldSize: 4096, files: 1, parts: 17, headerPairs: 16, headerSize: 16 * 1024 }

export interface FormFile {
  /** As the client gave it: not to be trusted with anything. */
  filename: string
  body: ReadableStream<Uint8Array>
}

export interface FormRead<T> {
  fields: ReadonlyMap<string, string>
  filename: string
  file: T
}

export interface FormOptions {
  /** Name of the part that is the file. */
  fileField: string
  maxFileBytes: number
}

/**
 * @param receive takes the file as it arrives, before the fields that follow it are known, and must read it to its end
 * @throws BodyTooLargeError as soon as it is known, UnsupportedMediaTypeError, InvalidInputError; what `receive` throws
 */
export async function readForm<T>(
  c: AppContext,
  options: FormOptions,
  receive: (file: FormFile, fieldsSoFar: ReadonlyMap<string, string>) => Promise<T>,
): Promise<FormRead<T>> {
  const maxBodyBytes = options.maxFileBytes + MAX_ENVELOPE_BYTES
  const announced = Number(c.req.header('content-length') ?? 0)
  if (announced > maxBodyBytes) throw tooLarge(options)
  const parser = createParser(c.req.header('content-type') ?? '', options.maxFileBytes)
  const fields = new Map<string, string>()
  const failure = new AbortController()
  const fail = (error: unknown): void => failure.abort(error)
  let received: { filename: string; file: Promise<T> } | undefined

  parser.on('field', (name, value, _isNameCut, isValueCut) => {
    if (isValueCut) fail(new InvalidInputError('a field of the form is longer than 4 KiB'))
    else fields.set(name, value)
  })
  parser.on('file', (name, stream, filename) => {
    // It ends with an error when the form is broken, or because of a failure that is known already.
    stream.on('error', (error) => fail(brokenForm(error)))
    stream.on('limit', () => fail(tooLarge(options)))
    failure.signal.addEventListener('abort', () => stream.destroy(toError(failure.signal.reason)))
    if (name !== options.fileField) return fail(missingFile(options))
    const file = receive({ filename, body: toWebStream(stream) }, fields)
    file.catch(fail)
    received = { filename, file }
  })
  for (const event of ['partsLimit', 'filesLimit', 'fieldsLimit'] as const) {
    parser.on(event, () => fail(new InvalidInputError('the form has more parts than this route takes')))
  }

  try {
    await pump(c.req.raw.body, parser, { maxBodyBytes, failure, options })
    if (received === undefined) throw missingFile(options)
    return { fields, filename: received.filename, file: await received.file }
  } catch (error) {
    fail(error)
    // Whoever takes the file must be done with it before its object is cleared away.
    await received?.file.catch(() => undefined)
    throw failure.signal.reason
  }
}

function createParser(contentType: string, maxFileBytes: number): BusboyInstance {
  if (!/^multipart\/form-data\b/i.test(contentType)) {
    throw new UnsupportedMediaTypeError('content-type: expected multipart/form-data with a boundary, got another')
  }
  try {
    return new Busboy({ headers: { 'content-type': contentType }, limits: { ...LIMITS, fileSize: maxFileBytes } })
  } catch (cause) {
    throw new InvalidInputError('content-type: expected a boundary, got none', { cause })
  }
}

/** Feeds the parser to the end of the body, or until something fails. */
async function pump(
  body: ReadableStream<Uint8Array> | null,
  parser: BusboyInstance,
  { maxBodyBytes, failure, options }: { maxBodyBytes: number; failure: AbortController; options: FormOptions },
): Promise<void> {
  const { signal } = failure
  const failed = new Promise<never>((_, reject) => {
    signal.addEventListener('abort', () => reject(toError(signal.reason)))
  })
  // A failure may come while nobody waits for it here.
  failed.catch(() => undefined)
  const finished = new Promise<void>((resolve) => parser.on('finish', resolve))
  parser.on('error', (error) => failure.abort(brokenForm(error)))
  let length = 0
  if (body !== null) {
    for await (const chunk of inPieces(body, 'own')) {
      length += chunk.byteLength
      if (length > maxBodyBytes) throw tooLarge(options)
      await Promise.race([written(parser, chunk), failed])
    }
  }
  parser.end()
  await Promise.race([finished, failed])
}

/** Fulfilled when the parser has passed on what it was given and takes more. */
function written(parser: BusboyInstance, chunk: Uint8Array): Promise<void> {
  return new Promise((resolve, reject) => {
    parser.write(chunk, (error) => (error ? reject(error) : resolve()))
  })
}

function toWebStream(stream: BusboyFileStream): ReadableStream<Uint8Array> {
  const chunks = stream.iterator()
  return new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        const { done, value } = await chunks.next()
        if (done === true) controller.close()
        else controller.enqueue(value)
      },
      cancel(reason) {
        stream.destroy(toError(reason))
      },
    },
    { highWaterMark: 0 },
  )
}

function missingFile({ fileField }: FormOptions): InvalidInputError {
  return new InvalidInputError(`${fileField}: expected one file part of this name, got none or another`, {
    param: fileField,
  })
}

function tooLarge({ maxFileBytes, fileField }: FormOptions): BodyTooLargeError {
  return new BodyTooLargeError(`${fileField}: expected at most ${maxFileBytes} bytes, more was sent`, {
    param: fileField,
  })
}

function toError(reason: unknown): Error {
  return reason instanceof Error ? reason : new Error('the form was given up', { cause: reason })
}

function brokenForm(cause: unknown): InvalidInputError {
  return new InvalidInputError('the body is not complete and correct multipart/form-data', { cause })
}

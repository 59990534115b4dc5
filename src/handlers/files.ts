// /v1/files: upload, list, retrieve, download, delete, as OpenAI has them.

import { InvalidInputError, RangeNotSatisfiableError } from '../errors.ts'
import type { FileRecord } from '../jobs/job.ts'
import { createFile, MAX_FILE_BYTES, openContent, type ByteRange, type FileDependencies } from '../services/files.ts'
import { contentRange, parseByteRange } from './byte-range.ts'
import { attachment } from './content-disposition.ts'
import type { AppContext, Route } from './context.ts'
import { FileFieldsSchema, FileListQuerySchema, PurposeSchema, toFile } from './files-schema.ts'
import { readForm } from './multipart.ts'
import { parseField } from './parse-field.ts'

const SCOPES = ['jobs'] as const

export function fileRoutes(deps: FileDependencies): Route[] {
  return [
    { method: 'POST', path: '/v1/files', scopes: SCOPES, handle: (c) => postFile(c, deps) },
    { method: 'GET', path: '/v1/files', scopes: SCOPES, handle: (c) => listFiles(c, deps) },
    { method: 'GET', path: '/v1/files/:file', scopes: SCOPES, handle: (c) => getFile(c, deps) },
    { method: 'DELETE', path: '/v1/files/:file', scopes: SCOPES, handle: (c) => deleteFile(c, deps) },
    { method: 'GET', path: '/v1/files/:file/content', scopes: SCOPES, handle: (c) => getContent(c, deps) },
  ]
}

/** @throws InvalidInputError, BodyTooLargeError, UnsupportedMediaTypeError */
async function postFile(c: AppContext, deps: FileDependencies): Promise<Response> {
  const file = await createFile(deps, c.var.project, async (store) => {
    const form = await readForm(c, { fileField: 'file', maxFileBytes: MAX_FILE_BYTES }, ({ body }, fieldsSoFar) => {
      // Where the purpose comes first, a wrong one is refused before 90 MiB have passed.
      const purpose = fieldsSoFar.get('purpose')
      if (purpose !== undefined) parseField(PurposeSchema, purpose, 'purpose')
      return store(body)
    })
    const fields = parseField(FileFieldsSchema, Object.fromEntries(form.fields), '')
    return {
      stored: form.file,
      filename: form.filename,
      purpose: fields.purpose,
      expiresAfterSeconds: expirySeconds(fields['expires_after[anchor]'], fields['expires_after[seconds]']),
    }
  })
  return c.json(toFile(file))
}

function expirySeconds(anchor: string | undefined, seconds: number | undefined): number | null {
  if (anchor === undefined && seconds === undefined) return null
  if (anchor !== undefined && seconds !== undefined) return seconds
  throw new InvalidInputError('expires_after: expected anchor and seconds, got one of them', { param: 'expires_after' })
}

async function listFiles(c: AppContext, { broker }: FileDependencies): Promise<Response> {
  const { purpose, after, limit, order } = parseField(FileListQuerySchema, c.req.query(), '')
  const { data, hasMore } = await broker.listFiles(c.var.project, { purpose, after, limit, order })
  const [first, last] = [data[0], data.at(-1)]
  return c.json({
    object: 'list',
    data: data.map(toFile),
    first_id: first?.id ?? null,
    last_id: last?.id ?? null,
    has_more: hasMore,
  })
}

async function getFile(c: AppContext, deps: FileDependencies): Promise<Response> {
  return c.json(toFile(await find(c, deps)))
}

async function deleteFile(c: AppContext, { broker }: FileDependencies): Promise<Response> {
  const id = c.req.param('file') ?? ''
  await broker.deleteFile(c.var.project, id)
  return c.json({ id, object: 'file', deleted: true })
}

/** @throws RangeNotSatisfiableError */
async function getContent(c: AppContext, deps: FileDependencies): Promise<Response> {
  const file = await find(c, deps)
  const range = readRange(c, file)
  c.header('accept-ranges', 'bytes')
  c.header('etag', entityTag(file))
  c.header('content-type', 'application/octet-stream')
  c.header('content-disposition', attachment(file.filename))
  // Nobody's bytes are to be taken for a page of this origin.
  c.header('x-content-type-options', 'nosniff')
  c.header('cache-control', 'private, no-store')
  c.header('content-length', String(range?.length ?? file.bytes))
  if (range !== undefined) c.header('content-range', contentRange(range, file.bytes))
  const status = range === undefined ? 200 : 206
  if (c.req.method === 'HEAD') return c.body(null, status)
  const { body } = await openContent(deps, file, range)
  return c.body(body, status)
}

function readRange(c: AppContext, file: FileRecord): ByteRange | undefined {
  const condition = c.req.header('if-range')
  if (condition !== undefined && condition !== entityTag(file)) return undefined
  try {
    return parseByteRange(c.req.header('range'), file.bytes)
  } catch (error) {
    if (error instanceof RangeNotSatisfiableError) c.header('content-range', `bytes */${file.bytes}`)
    throw error
  }
}

function entityTag({ sha256 }: FileRecord): string {
  return `"${sha256}"`
}

/** @throws ResourceNotFoundError also for another project's */
function find(c: AppContext, { broker }: FileDependencies): Promise<FileRecord> {
  return broker.getFile(c.var.project, c.req.param('file') ?? '')
}

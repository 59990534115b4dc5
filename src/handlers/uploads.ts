// /v1/uploads: a file in parts, as OpenAI has it.

import type { FileDependencies } from '../services/files.ts'
import { addPart, completeUpload, createUpload, MAX_PART_BYTES } from '../services/uploads.ts'
import type { AppContext, Route } from './context.ts'
import { readForm } from './multipart.ts'
import { parseField } from './parse-field.ts'
import { readJson } from './request-body.ts'
import { toUpload, toUploadPart, UploadCompleteSchema, UploadRequestSchema } from './uploads-schema.ts'

const SCOPES = ['jobs'] as const

export function uploadRoutes(deps: FileDependencies): Route[] {
  return [
    { method: 'POST', path: '/v1/uploads', scopes: SCOPES, handle: (c) => postUpload(c, deps) },
    { method: 'POST', path: '/v1/uploads/:upload/parts', scopes: SCOPES, handle: (c) => postPart(c, deps) },
    { method: 'POST', path: '/v1/uploads/:upload/complete', scopes: SCOPES, handle: (c) => postComplete(c, deps) },
    { method: 'POST', path: '/v1/uploads/:upload/cancel', scopes: SCOPES, handle: (c) => postCancel(c, deps) },
  ]
}

async function postUpload(c: AppContext, deps: FileDependencies): Promise<Response> {
  const body = parseField(UploadRequestSchema, await readJson(c), '')
  const upload = await createUpload(deps, c.var.project, {
    filename: body.filename,
    purpose: body.purpose,
    bytes: body.bytes,
    mimeType: body.mime_type,
    expiresAfterSeconds: body.expires_after?.seconds ?? null,
  })
  return c.json(toUpload(upload, null))
}

/** @throws BodyTooLargeError, UnsupportedMediaTypeError, InvalidInputError, UploadStateError */
async function postPart(c: AppContext, deps: FileDependencies): Promise<Response> {
  const { uploadId } = placeOf(c)
  const part = await addPart(deps, placeOf(c), async (store) => {
    const form = await readForm(c, { fileField: 'data', maxFileBytes: MAX_PART_BYTES }, ({ body }) => store(body))
    return form.file
  })
  return c.json(toUploadPart(part, uploadId))
}

async function postComplete(c: AppContext, deps: FileDependencies): Promise<Response> {
  const { part_ids: partIds, md5 } = parseField(UploadCompleteSchema, await readJson(c), '')
  const { upload, file } = await completeUpload(deps, placeOf(c), { partIds, md5: md5 ?? undefined })
  return c.json(toUpload(upload, file))
}

async function postCancel(c: AppContext, { broker }: FileDependencies): Promise<Response> {
  const { project, uploadId } = placeOf(c)
  return c.json(toUpload(await broker.cancelUpload(project, uploadId), null))
}

function placeOf(c: AppContext): { project: string; uploadId: string } {
  return { project: c.var.project, uploadId: c.req.param('upload') ?? '' }
}

// Files and uploads.

import type { RouteConfig } from '@hono/zod-openapi'
import { z } from 'zod'
import {
  FileDeletedSchema,
  FileListQuerySchema,
  FileListSchema,
  FileRequestSchema,
  FileSchema,
} from '../../src/handlers/files-schema.ts'
import {
  UploadCompleteSchema,
  UploadPartRequestSchema,
  UploadPartSchema,
  UploadRequestSchema,
  UploadSchema,
} from '../../src/handlers/uploads-schema.ts'
import { errors, KEYED, requestId, toRoute } from './operations.ts'

const FORM = 'multipart/form-data'
const content = { 'application/octet-stream': { schema: z.string().meta({ format: 'binary' }) } }
const downloadHeaders = z.object({
  ...requestId,
  'content-disposition': z.string(),
  etag: z.string().meta({ description: 'The SHA-256 of the content.' }),
})

export const FILE_ROUTES: RouteConfig[] = [
  toRoute({
    method: 'post',
    path: '/v1/files',
    id: 'createFile',
    summary: 'Uploads a file of up to 90 MiB',
    key: 'apiKey',
    body: FileRequestSchema,
    bodyType: FORM,
    answers: FileSchema,
    description: 'The file.',
    refusals: [400, 413, 415],
  }),
  toRoute({
    method: 'get',
    path: '/v1/files',
    id: 'listFiles',
    summary: 'The project’s files',
    key: 'apiKey',
    query: FileListQuerySchema,
    answers: FileListSchema,
    description: 'A page of them.',
    refusals: [400],
  }),
  toRoute({
    method: 'get',
    path: '/v1/files/{file}',
    id: 'retrieveFile',
    summary: 'What is known of a file',
    key: 'apiKey',
    answers: FileSchema,
    description: 'The file.',
    refusals: [404],
  }),
  toRoute({
    method: 'delete',
    path: '/v1/files/{file}',
    id: 'deleteFile',
    summary: 'Deletes a file that no open job reads',
    key: 'apiKey',
    answers: FileDeletedSchema,
    description: 'It is gone.',
    refusals: [404, 409],
  }),
  {
    method: 'get',
    path: '/v1/files/{file}/content',
    operationId: 'downloadFile',
    summary: 'A file’s content, or one range of it',
    security: [{ apiKey: [] }],
    request: {
      params: z.object({ file: z.string() }),
      headers: z.object({
        range: z
          .string()
          .optional()
          .meta({ examples: ['bytes=0-1023'] }),
      }),
    },
    responses: {
      200: { description: 'The whole.', headers: downloadHeaders, content },
      206: {
        description: 'The range.',
        headers: downloadHeaders.extend({ 'content-range': z.string() }),
        content,
      },
      ...errors(404, 416, ...KEYED),
    },
  },
  toRoute({
    method: 'post',
    path: '/v1/uploads',
    id: 'createUpload',
    summary: 'Begins a file that comes in parts',
    key: 'apiKey',
    body: UploadRequestSchema,
    answers: UploadSchema,
    description: 'The upload.',
    refusals: [400],
  }),
  toRoute({
    method: 'post',
    path: '/v1/uploads/{upload}/parts',
    id: 'addUploadPart',
    summary: 'Adds a part of up to 64 MiB, in any order',
    key: 'apiKey',
    body: UploadPartRequestSchema,
    bodyType: FORM,
    answers: UploadPartSchema,
    description: 'The part.',
    refusals: [400, 404, 409, 413, 415],
  }),
  toRoute({
    method: 'post',
    path: '/v1/uploads/{upload}/complete',
    id: 'completeUpload',
    summary: 'Makes a file of the parts, in the order given',
    key: 'apiKey',
    body: UploadCompleteSchema,
    answers: UploadSchema,
    description: 'The upload with its file.',
    refusals: [400, 404, 409],
  }),
  toRoute({
    method: 'post',
    path: '/v1/uploads/{upload}/cancel',
    id: 'cancelUpload',
    summary: 'Drops an upload and its parts',
    key: 'apiKey',
    answers: UploadSchema,
    description: 'The upload, cancelled.',
    refusals: [404, 409],
  }),
]

// The wire form of /v1/uploads, as OpenAI has it.

import { z } from 'zod'
import type { FileRecord, UploadPart, UploadRecord } from '../jobs/job.ts'
import { MAX_UPLOAD_BYTES } from '../services/uploads.ts'
import { ExpiresAfterSchema, FileSchema, PurposeSchema, toFile } from './files-schema.ts'
import { toSeconds } from './unix-seconds.ts'

/** 4 GiB in parts of 64 MiB are 64; smaller parts are welcome within reason. */
const MAX_PARTS = 10_000

export const UploadRequestSchema = z
  .object({
    filename: z.string().min(1).max(1024),
    purpose: PurposeSchema,
    bytes: z.int().min(1).max(MAX_UPLOAD_BYTES).meta({ description: 'Of the whole file.' }),
    mime_type: z.string().min(1).max(255),
    expires_after: ExpiresAfterSchema.nullish(),
  })
  .meta({ id: 'UploadRequest' })

export const UploadCompleteSchema = z
  .object({
    part_ids: z.array(z.string().max(64)).min(1).max(MAX_PARTS).meta({ description: 'In the order of the file.' }),
    md5: z
      .string()
      .regex(/^[0-9a-fA-F]{32}$/)
      .toLowerCase()
      .nullish()
      .meta({ description: 'Of the whole file, in hex.' }),
  })
  .meta({ id: 'UploadComplete' })

export const UploadPartRequestSchema = z
  .object({ data: z.string().meta({ format: 'binary', description: 'At most 64 MiB.' }) })
  .meta({ id: 'UploadPartRequest' })

export const UploadSchema = z
  .object({
    id: z.string(),
    object: z.literal('upload'),
    bytes: z.int(),
    created_at: z.int(),
    expires_at: z.int().meta({ description: 'An hour later; it must be completed by then.' }),
    filename: z.string(),
    purpose: PurposeSchema,
    status: z.enum(['pending', 'completed', 'cancelled', 'expired']),
    file: FileSchema.nullable(),
  })
  .meta({ id: 'Upload' })

export const UploadPartSchema = z
  .object({ id: z.string(), object: z.literal('upload.part'), created_at: z.int(), upload_id: z.string() })
  .meta({ id: 'UploadPart' })

export function toUpload(upload: UploadRecord, file: FileRecord | null): z.infer<typeof UploadSchema> {
  return {
    id: upload.id,
    object: 'upload',
    bytes: upload.bytes,
    created_at: toSeconds(upload.createdAtMs),
    expires_at: toSeconds(upload.expiresAtMs),
    filename: upload.filename,
    purpose: upload.purpose,
    status: upload.status,
    file: file === null ? null : toFile(file),
  }
}

export function toUploadPart({ id, createdAtMs }: UploadPart, uploadId: string): z.infer<typeof UploadPartSchema> {
  return { id, object: 'upload.part', created_at: toSeconds(createdAtMs), upload_id: uploadId }
}

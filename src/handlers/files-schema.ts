// The wire form of /v1/files: OpenAI's file object, its list, and what is read of a request.

import { z } from 'zod'
import { FILE_PURPOSES, type FileRecord } from '../jobs/job.ts'
import { toSeconds } from './unix-seconds.ts'

const [MIN_EXPIRY_SECONDS, MAX_EXPIRY_SECONDS] = [3600, 2_592_000] as const
const MAX_LIST = 10_000

export const PurposeSchema = z.enum(FILE_PURPOSES).meta({
  description:
    'fine-tune: a data set, or an archive of its pictures. batch: requests, one a line. user_data: any other.',
})

export const ExpiresAfterSchema = z
  .object({
    anchor: z.literal('created_at'),
    seconds: z.coerce.number().int().min(MIN_EXPIRY_SECONDS).max(MAX_EXPIRY_SECONDS),
  })
  .meta({ id: 'ExpiresAfter', description: 'The file is deleted that long after it was made. Default: never.' })

/** The fields of the form beside the file; a form has no objects, so OpenAI's clients flatten them like this. */
export const FileFieldsSchema = z.object({
  purpose: PurposeSchema,
  'expires_after[anchor]': ExpiresAfterSchema.shape.anchor.optional(),
  'expires_after[seconds]': ExpiresAfterSchema.shape.seconds.optional(),
})

/** For the OpenAPI document: what a client sends. */
export const FileRequestSchema = z
  .object({
    file: z.string().meta({ format: 'binary', description: 'At most 90 MiB; longer ones through /v1/uploads.' }),
    purpose: PurposeSchema,
    expires_after: ExpiresAfterSchema.optional(),
  })
  .meta({ id: 'FileRequest' })

export const FileSchema = z
  .object({
    id: z.string(),
    object: z.literal('file'),
    bytes: z.int(),
    created_at: z.int().meta({ description: 'Unix seconds.' }),
    expires_at: z.int().nullable(),
    filename: z.string(),
    purpose: z.enum([...FILE_PURPOSES, 'batch_output', 'fine-tune-results']),
    status: z.literal('processed').meta({ description: 'A file is checked when a job uses it.' }),
    x_flava: z.object({ sha256: z.string() }),
  })
  .meta({ id: 'File' })

export const FileListSchema = z
  .object({
    object: z.literal('list'),
    data: z.array(FileSchema),
    first_id: z.string().nullable(),
    last_id: z.string().nullable(),
    has_more: z.boolean(),
  })
  .meta({ id: 'FileList' })

export const FileDeletedSchema = z
  .object({ id: z.string(), object: z.literal('file'), deleted: z.literal(true) })
  .meta({ id: 'FileDeleted' })

export const FileListQuerySchema = z.object({
  purpose: z.string().max(64).optional(),
  after: z.string().max(64).optional().meta({ description: 'Id of the last file of the page before.' }),
  limit: z.coerce.number().int().min(1).max(MAX_LIST).default(MAX_LIST),
  order: z.enum(['asc', 'desc']).default('desc').meta({ description: 'By the time of creation.' }),
})

export function toFile(file: FileRecord): z.infer<typeof FileSchema> {
  return {
    id: file.id,
    object: 'file',
    bytes: file.bytes,
    created_at: toSeconds(file.createdAtMs),
    expires_at: toSeconds(file.expiresAtMs),
    filename: file.filename,
    purpose: file.purpose,
    status: 'processed',
    x_flava: { sha256: file.sha256 },
  }
}

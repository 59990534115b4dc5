// Uploads and their parts: pending until they are completed once, cancelled, or too old.

import { InvalidInputError } from '../../errors.ts'
import { ResourceNotFoundError, UploadStateError } from '../../jobs/errors.ts'
import { partKey } from '../../jobs/object-keys.ts'
import type { UploadCompletion } from '../../jobs/ports.ts'
import type { FileRecord, UploadPart, UploadPurpose, UploadRecord } from '../../jobs/job.ts'
import { fileOf, insertFile } from './file-rows.ts'
import { firstRow, listParameter, rows, run, type BrokerStore } from './store.ts'
import { discard, takeBack } from './trash-rows.ts'

type UploadRow = {
  id: string
  project: string
  status: UploadRecord['status']
  bytes: number
  filename: string
  mime_type: string
  purpose: UploadPurpose
  created_ms: number
  expires_ms: number
  file: string | null
  file_expires_after_seconds: number | null
}
type PartRow = { id: string; key: string; bytes: number; created_ms: number }

export function createUpload(store: BrokerStore, upload: UploadRecord): UploadRecord {
  run(
    store,
    `INSERT INTO uploads (id, project, status, bytes, filename, mime_type, purpose, created_ms, expires_ms,
       file_expires_after_seconds)
     VALUES (?, ?, 'pending', ?, ?, ?, ?, ?, ?, ?)`,
    upload.id,
    upload.project,
    upload.bytes,
    upload.filename,
    upload.mimeType,
    upload.purpose,
    upload.createdAtMs,
    upload.expiresAtMs,
    upload.fileExpiresAfterSeconds,
  )
  return uploadOf(store, upload.project, upload.id)
}

/** @throws ResourceNotFoundError */
export function uploadOf(store: BrokerStore, project: string, id: string): UploadRecord {
  const row = firstRow<UploadRow>(store, 'SELECT * FROM uploads WHERE id = ? AND project = ?', id, project)
  if (row === undefined) throw new ResourceNotFoundError('no such upload')
  return toUpload(row, store.now())
}

/** @throws ResourceNotFoundError, UploadStateError */
export function addPart(store: BrokerStore, project: string, uploadId: string, part: UploadPart): UploadPart {
  pendingUpload(store, project, uploadId)
  run(
    store,
    'INSERT INTO upload_parts (id, upload, key, bytes, created_ms) VALUES (?, ?, ?, ?, ?)',
    part.id,
    uploadId,
    part.key,
    part.bytes,
    part.createdAtMs,
  )
  takeBack(store, [part.key])
  return part
}

/** @throws ResourceNotFoundError, UploadStateError, InvalidInputError */
export function partsOf(
  store: BrokerStore,
  project: string,
  uploadId: string,
  partIds: readonly string[],
): UploadPart[] {
  pendingUpload(store, project, uploadId)
  const known = new Map(partRows(store, uploadId).map((row) => [row.id, row]))
  if (new Set(partIds).size < partIds.length)
    throw new InvalidInputError('part_ids: expected each part once', { param: 'part_ids' })
  return partIds.map((id, index) => {
    const row = known.get(id)
    if (row === undefined)
      throw new InvalidInputError(`part_ids[${index}]: expected a part of this upload`, { param: `part_ids[${index}]` })
    return { id, key: row.key, bytes: row.bytes, createdAtMs: row.created_ms }
  })
}

/** @throws ResourceNotFoundError, UploadStateError when it is not pending */
export function completeUpload(
  store: BrokerStore,
  { project, uploadId, partIds }: UploadCompletion,
  file: FileRecord,
): UploadRecord {
  pendingUpload(store, project, uploadId)
  insertFile(store, file)
  run(
    store,
    `UPDATE uploads SET status = 'completed', file = ?, part_ids = ? WHERE id = ?`,
    file.id,
    listParameter(partIds),
    uploadId,
  )
  dropParts(store, uploadId)
  return uploadOf(store, project, uploadId)
}

/** What this very completion has come to, where it has. @throws ResourceNotFoundError also when the file was deleted since */
export function completedUpload(
  store: BrokerStore,
  { project, uploadId, partIds }: UploadCompletion,
): { upload: UploadRecord; file: FileRecord } | undefined {
  const row = firstRow<{ file: string }>(
    store,
    `SELECT file FROM uploads WHERE id = ? AND project = ? AND status = 'completed' AND part_ids = ?`,
    uploadId,
    project,
    listParameter(partIds),
  )
  if (row === undefined) return undefined
  return { upload: uploadOf(store, project, uploadId), file: fileOf(store, project, row.file) }
}

/** @throws ResourceNotFoundError, UploadStateError when it is not pending */
export function cancelUpload(store: BrokerStore, project: string, uploadId: string): UploadRecord {
  pendingUpload(store, project, uploadId)
  run(store, `UPDATE uploads SET status = 'cancelled' WHERE id = ?`, uploadId)
  dropParts(store, uploadId)
  return uploadOf(store, project, uploadId)
}

/** Expires what was never completed and forgets what is long over. @returns whether there may be more */
export function expireUploads(store: BrokerStore, keepMs: number, limit: number): boolean {
  const now = store.now()
  const expired = rows<{ id: string }>(
    store,
    `UPDATE uploads SET status = 'expired'
     WHERE id IN (SELECT id FROM uploads WHERE status = 'pending' AND expires_ms <= ? LIMIT ?) RETURNING id`,
    now,
    limit,
  )
  for (const { id } of expired) dropParts(store, id)
  run(store, `DELETE FROM uploads WHERE status <> 'pending' AND expires_ms <= ?`, now - keepMs)
  return expired.length === limit
}

function pendingUpload(store: BrokerStore, project: string, id: string): UploadRecord {
  const upload = uploadOf(store, project, id)
  if (upload.status !== 'pending')
    throw new UploadStateError(`the upload is ${upload.status}, expected it to be pending`)
  return upload
}

function dropParts(store: BrokerStore, uploadId: string): void {
  run(store, 'DELETE FROM upload_parts WHERE upload = ?', uploadId)
  // Also what was sent and never got as far as the index.
  discard(store, [partKey(uploadId, '')])
}

function partRows(store: BrokerStore, uploadId: string): PartRow[] {
  return rows<PartRow>(store, 'SELECT id, key, bytes, created_ms FROM upload_parts WHERE upload = ?', uploadId)
}

function toUpload(row: UploadRow, now: number): UploadRecord {
  return {
    id: row.id,
    project: row.project,
    status: row.status === 'pending' && row.expires_ms <= now ? 'expired' : row.status,
    bytes: row.bytes,
    filename: row.filename,
    mimeType: row.mime_type,
    purpose: row.purpose,
    createdAtMs: row.created_ms,
    expiresAtMs: row.expires_ms,
    fileId: row.file,
    fileExpiresAfterSeconds: row.file_expires_after_seconds,
  }
}

// The index of files. A file that an unfinished job reads can be neither deleted nor does it expire.

import { InvalidInputError } from '../../errors.ts'
import { FileInUseError, ResourceNotFoundError } from '../../jobs/errors.ts'
import type { FilePurpose, FileRecord } from '../../jobs/job.ts'
import type { Page, Paged } from '../../jobs/ports.ts'
import { firstRow, rows, run, type BrokerStore } from './store.ts'
import { discard, takeBack } from './trash-rows.ts'

type FileRow = {
  ordinal: number
  id: string
  project: string
  key: string
  bytes: number
  sha256: string
  filename: string
  purpose: FilePurpose
  created_ms: number
  expires_ms: number | null
}

const LIVE = '(expires_ms IS NULL OR expires_ms > ?)'

export function insertFile(store: BrokerStore, file: FileRecord): void {
  run(
    store,
    `INSERT INTO files (id, project, key, bytes, sha256, filename, purpose, created_ms, expires_ms)
     VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`,
    file.id,
    file.project,
    file.key,
    file.bytes,
    file.sha256,
    file.filename,
    file.purpose,
    file.createdAtMs,
    file.expiresAtMs,
  )
  takeBack(store, [file.key])
}

/** @throws ResourceNotFoundError */
export function fileOf(store: BrokerStore, project: string, id: string): FileRecord {
  const row = firstRow<FileRow>(
    store,
    `SELECT * FROM files WHERE id = ? AND project = ? AND ${LIVE}`,
    id,
    project,
    store.now(),
  )
  if (row === undefined) throw new ResourceNotFoundError('no such file')
  return toFile(row)
}

/** @throws InvalidInputError when `after` is no file of the project */
export function pageOfFiles(
  store: BrokerStore,
  project: string,
  { purpose, after, limit, order }: { purpose: string | undefined } & Page,
): Paged<FileRecord> {
  let start = order === 'asc' ? 0 : Number.MAX_SAFE_INTEGER
  if (after !== undefined) {
    const row = firstRow<{ ordinal: number }>(
      store,
      'SELECT ordinal FROM files WHERE id = ? AND project = ?',
      after,
      project,
    )
    if (row === undefined) throw new InvalidInputError('after: expected the id of a file', { param: 'after' })
    start = row.ordinal
  }
  const found = rows<FileRow>(
    store,
    `SELECT * FROM files WHERE project = ? AND ordinal ${order === 'asc' ? '>' : '<'} ? AND ${LIVE}
       AND (? IS NULL OR purpose = ?)
     ORDER BY ordinal ${order === 'asc' ? 'ASC' : 'DESC'} LIMIT ?`,
    project,
    start,
    store.now(),
    purpose ?? null,
    purpose ?? null,
    limit + 1,
  )
  return { data: found.slice(0, limit).map(toFile), hasMore: found.length > limit }
}

/** @throws ResourceNotFoundError, FileInUseError */
export function deleteFile(store: BrokerStore, project: string, id: string): void {
  const { key } = fileOf(store, project, id)
  const reader = firstRow<{ job: string }>(store, 'SELECT job FROM job_reads WHERE key = ? LIMIT 1', key)
  if (reader !== undefined) throw new FileInUseError(`job ${reader.job} reads the file and is not over`)
  run(store, 'DELETE FROM files WHERE id = ?', id)
  discard(store, [key])
}

/** Takes out what has expired, up to a number at a time. @returns whether there may be more */
export function expireFiles(store: BrokerStore, limit: number): boolean {
  const expired = rows<{ key: string }>(
    store,
    `DELETE FROM files WHERE ordinal IN (
       SELECT ordinal FROM files
       WHERE expires_ms <= ? AND NOT EXISTS (SELECT 1 FROM job_reads WHERE job_reads.key = files.key) LIMIT ?
     ) RETURNING key`,
    store.now(),
    limit,
  )
  discard(
    store,
    expired.map(({ key }) => key),
  )
  return expired.length === limit
}

function toFile(row: FileRow): FileRecord {
  return {
    id: row.id,
    project: row.project,
    key: row.key,
    bytes: row.bytes,
    sha256: row.sha256,
    filename: row.filename,
    purpose: row.purpose,
    createdAtMs: row.created_ms,
    expiresAtMs: row.expires_ms,
  }
}

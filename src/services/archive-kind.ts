// What kind of archive a file is, by its first bytes: its name is the uploader's and decides nothing.

import { InvalidInputError } from '../errors.ts'
import type { FileRecord } from '../jobs/job.ts'
import type { ObjectStore } from '../jobs/ports.ts'

export type ArchiveKind = 'zip' | 'tar' | 'tar.gz'

/** `PK` 3 4; 1f 8b; `ustar` in a tar's first header. */
const ZIP_MAGIC = [0x50, 0x4b, 0x03, 0x04]
const GZIP_MAGIC = [0x1f, 0x8b]
const TAR_MAGIC = [0x75, 0x73, 0x74, 0x61, 0x72]
const TAR_BLOCK_BYTES = 512
const TAR_MAGIC_OFFSET = 257

/** @throws InvalidInputError when it is none of them, or gone */
export async function readArchiveKind(file: FileRecord, objects: ObjectStore, param: string): Promise<ArchiveKind> {
  const wrong = (): InvalidInputError =>
    new InvalidInputError(`${param}: expected a zip or tar archive, got another kind of file`, { param })
  if (file.bytes === 0) throw wrong()
  const head = await objects.get(file.key, { offset: 0, length: Math.min(file.bytes, TAR_BLOCK_BYTES) })
  if (head === undefined) throw new InvalidInputError(`${param}: the file's content is gone`, { param })
  const bytes = new Uint8Array(await new Response(head.body).arrayBuffer())
  const holds = (magic: readonly number[], offset = 0): boolean => magic.every((byte, i) => bytes[offset + i] === byte)
  if (holds(ZIP_MAGIC)) return 'zip'
  if (holds(GZIP_MAGIC)) return 'tar.gz'
  if (holds(TAR_MAGIC, TAR_MAGIC_OFFSET)) return 'tar'
  throw wrong()
}

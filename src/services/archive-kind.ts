// What kind of archive a file is, by its first bytes: its name is the uploader's and decides nothing.

import { InvalidInputError } from '../errors.ts'
import type { FileRecord } from '../jobs/job.ts'
import type { ObjectStore } from '../jobs/ports.ts'

export type ArchiveKind = 'zip' | 'tar' | 'tar.gz'

const TAR_BLOCK_BYTES = 512
const TAR_MAGIC_OFFSET = 257

/** @throws InvalidInputError when it is none of them, or gone */
export async function readArchiveKind(file: FileRecord, objects: ObjectStore, param: string): Promise<ArchiveKind> {
  const wrong = (): InvalidInputError =>
    new InvalidInputError(`${param}: expected a zip or tar archive, got another kind of file`, { param })
  if (file.bytes === 0) throw wrong()
  const head = await objects.get(file.key, { offset: 0, length: Math.min(file.bytes, TAR_BLOCK_BYTES) })
  if (head === undefined) throw new InvalidInputError(`${param}: the file's content is gone`, { param })
  const text = new TextDecoder('latin1').decode(await new Response(head.body).arrayBuffer())
  if (text.startsWith('PK\x03\x04')) return 'zip'
  if (text.startsWith('\x1f\x8b')) return 'tar.gz'
  if (text.startsWith('ustar', TAR_MAGIC_OFFSET)) return 'tar'
  throw wrong()
}

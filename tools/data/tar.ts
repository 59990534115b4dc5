// Reads a tar archive held in memory: ustar with its path prefix, pax path records and GNU long names, which
// is what npm packs. Regular files only; links and devices are skipped, nothing is ever written to disk.

import { ArchiveError } from './errors.ts'

const BLOCK_BYTES = 512
const CHECKSUM_START = 148
const CHECKSUM_END = 156

/**
 * Files of a tar archive, in archive order.
 * @param archive uncompressed tar bytes
 * @returns path → content (views into `archive`); a path that occurs twice keeps its last content, as in tar(1)
 * @throws ArchiveError for a bad header checksum or an archive that ends inside an entry
 * Format: POSIX.1-2017 pax, "ustar Interchange Format"; GNU tar manual, "Basic Tar Format".
 */
export function readTar(archive: Uint8Array): Map<string, Uint8Array> {
  const files = new Map<string, Uint8Array>()
  let longPath: string | undefined
  let offset = 0
  while (offset + BLOCK_BYTES <= archive.length) {
    const header = archive.subarray(offset, offset + BLOCK_BYTES)
    if (header.every((byte) => byte === 0)) return files
    checkHeader(header, offset)
    const sizeBytes = octal(header, 124, 136)
    const content = archive.subarray(offset + BLOCK_BYTES, offset + BLOCK_BYTES + sizeBytes)
    if (content.length !== sizeBytes) {
      throw new ArchiveError(`tar: expected ${sizeBytes} bytes for ${path(header)}, got ${content.length}`)
    }
    const kind = String.fromCharCode(header[156] ?? 0)
    if (kind === 'x') longPath = paxPath(content) ?? longPath
    else if (kind === 'L') longPath = text(content)
    else {
      if (kind === '0' || kind === '\0') files.set(longPath ?? path(header), content)
      longPath = undefined
    }
    offset += BLOCK_BYTES + Math.ceil(sizeBytes / BLOCK_BYTES) * BLOCK_BYTES
  }
  throw new ArchiveError(`tar: expected two zero blocks at the end, got ${archive.length} bytes without them`)
}

function checkHeader(header: Uint8Array, offset: number): void {
  let sum = 0
  header.forEach((byte, i) => (sum += i >= CHECKSUM_START && i < CHECKSUM_END ? 0x20 : byte))
  const stored = octal(header, CHECKSUM_START, CHECKSUM_END)
  if (sum !== stored) throw new ArchiveError(`tar: expected header checksum ${stored} at byte ${offset}, got ${sum}`)
}

function path(header: Uint8Array): string {
  const name = text(header.subarray(0, 100))
  const isUstar = text(header.subarray(257, 262)) === 'ustar'
  // GNU's own magic ("ustar  ") keeps timestamps where ustar keeps the prefix.
  const hasPrefix = isUstar && header[262] === 0
  const prefix = hasPrefix ? text(header.subarray(345, 500)) : ''
  return prefix === '' ? name : `${prefix}/${name}`
}

/** pax records are `<length> <key>=<value>\n`, the length counting itself. */
function paxPath(content: Uint8Array): string | undefined {
  let offset = 0
  while (offset < content.length) {
    const space = content.indexOf(0x20, offset)
    const lengthBytes = Number(text(content.subarray(offset, space)))
    if (space < 0 || !Number.isInteger(lengthBytes) || lengthBytes <= 0) {
      throw new ArchiveError(`tar: expected a pax record at byte ${offset} of its header`)
    }
    const record = text(content.subarray(space + 1, offset + lengthBytes - 1))
    if (record.startsWith('path=')) return record.slice('path='.length)
    offset += lengthBytes
  }
  return undefined
}

function octal(header: Uint8Array, start: number, end: number): number {
  const digits = text(header.subarray(start, end)).trim()
  const value = digits === '' ? 0 : Number.parseInt(digits, 8)
  if (!/^[0-7]*$/.test(digits)) throw new ArchiveError(`tar: expected an octal number, got ${JSON.stringify(digits)}`)
  return value
}

function text(bytes: Uint8Array): string {
  const end = bytes.indexOf(0)
  return new TextDecoder().decode(end < 0 ? bytes : bytes.subarray(0, end))
}

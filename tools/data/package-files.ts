// The files inside one npm tarball, by path without the leading `package/`.

import { gunzipSync } from 'node:zlib'
import type { z } from 'zod'

import { ArchiveError } from './errors.ts'
import { readTar } from './tar.ts'

export interface PackageFiles {
  readonly name: string
  /** Path → content, in archive order. */
  readonly files: ReadonlyMap<string, Uint8Array>
}

/** @throws ArchiveError when the bytes are not a gzipped tar */
export function openPackage(name: string, tarball: Uint8Array): PackageFiles {
  const files = new Map<string, Uint8Array>()
  for (const [path, content] of readTar(gunzip(name, tarball))) files.set(path.slice(path.indexOf('/') + 1), content)
  return { name, files }
}

/** @throws ArchiveError when the package has no such file */
export function readText(from: PackageFiles, path: string): string {
  const content = from.files.get(path)
  if (content === undefined) throw new ArchiveError(`${from.name}: expected a file ${path}, it has none`)
  return new TextDecoder().decode(content)
}

/** @throws ArchiveError when the file is missing, no JSON or of another shape */
export function readJson<T>(from: PackageFiles, path: string, schema: z.ZodType<T>): T {
  const source = readText(from, path)
  try {
    return schema.parse(JSON.parse(source))
  } catch (cause) {
    throw new ArchiveError(`${from.name}: ${path} is not JSON of the expected shape`, { cause })
  }
}

function gunzip(name: string, tarball: Uint8Array): Uint8Array {
  try {
    return gunzipSync(tarball)
  } catch (cause) {
    throw new ArchiveError(`${name}: expected a gzipped tarball`, { cause })
  }
}

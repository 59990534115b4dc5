// A model package in a folder, checked before it goes anywhere: its manifest, and every file's size and sha256.
import { createReadStream } from 'node:fs'
import { stat } from 'node:fs/promises'
import { basename, join, resolve } from 'node:path'
import { AppError } from '../../src/errors.ts'
import type { ModelManifest } from '../../src/flava/manifest.ts'
import { readManifest } from './load-model.ts'
import { createSha256 } from './sha256.ts'

export interface CheckedFile {
  path: string
  name: string
  sha256: string
  sizeBytes: number
}

export interface CheckedPackage {
  /** Name that it is served under: its folder's. */
  modelId: string
  directory: string
  manifest: ModelManifest
  configPath: string
  /** Every file but config.json. */
  files: readonly CheckedFile[]
}

/** A refusal that the user can act on: printed without a stack trace. */
export class PackageError extends Error {}

/** @throws PackageError naming what is missing or not what config.json promises */
export async function checkPackage(folder: string): Promise<CheckedPackage> {
  const directory = resolve(folder)
  const modelId = basename(directory)
  if (!/^[\w.-]+$/.test(modelId))
    throw new PackageError(`${folder}: expected a folder name of letters, digits, . _ and -`)
  try {
    const manifest = await readManifest(directory)
    const files = Object.values(manifest.files).map((file) => ({ ...file, path: join(directory, file.name) }))
    for (const file of files) await checkFile(file)
    return { modelId, directory, manifest, configPath: join(directory, 'config.json'), files }
  } catch (error) {
    if (!(error instanceof AppError)) throw error
    throw new PackageError(`${folder}: ${error.message}`, { cause: error })
  }
}

async function checkFile({ path, name, sha256, sizeBytes }: CheckedFile): Promise<void> {
  const found = await stat(path).catch(() => undefined)
  if (found === undefined) throw new PackageError(`${path}: expected it, as config.json names it`)
  if (found.size !== sizeBytes) {
    throw new PackageError(`${path}: expected ${sizeBytes} bytes, as config.json says, got ${found.size}`)
  }
  const digest = createSha256()
  for await (const chunk of createReadStream(path)) {
    if (chunk instanceof Uint8Array) await digest.update(chunk)
  }
  const got = await digest.hex()
  if (got !== sha256) throw new PackageError(`${name}: sha256: expected ${sha256}, got ${got}`)
}

// Puts a package into the R2 of this machine, where `wrangler dev` finds it: in parts, with a progress bar.
import { open, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { getPlatformProxy } from 'wrangler'
import { contentKey } from '../../src/platform/r2-package.ts'
import { startProgress } from '../data/progress.ts'
import type { CheckedFile, CheckedPackage } from './package-check.ts'

/** R2 wants all parts but the last of one size, 5 MiB at least. */
const PART_BYTES = 8 * 1024 * 1024

/**
 * Uploads what is not there yet; config.json comes last, so that it never names what is missing.
 * @param settingsPath a wrangler file with the bucket as WEIGHTS
 * @param persistPath folder of the local resources
 */
export async function uploadLocally(
  pack: CheckedPackage,
  configKey: string,
  { settingsPath, persistPath }: { settingsPath: string; persistPath: string },
): Promise<void> {
  const proxy = await getPlatformProxy<{ WEIGHTS: R2Bucket }>({
    configPath: settingsPath,
    // Wrangler keeps what `--persist-to` names in a folder of its own version.
    persist: { path: join(persistPath, 'v3') },
  })
  try {
    const bucket = proxy.env.WEIGHTS
    const missing = await filesMissing(bucket, pack.files)
    if (missing.length > 0) await uploadFiles(bucket, pack.modelId, missing)
    await bucket.put(configKey, await readFile(pack.configPath))
  } finally {
    await proxy.dispose()
  }
}

/** What lies under a file's key and was not put there by an upload of these bytes counts as missing. */
async function filesMissing(bucket: R2Bucket, files: readonly CheckedFile[]): Promise<CheckedFile[]> {
  const found = await Promise.all(files.map(({ sha256 }) => bucket.head(contentKey(sha256))))
  return files.filter(({ sizeBytes, sha256 }, index) => {
    const object = found[index]
    return object?.size !== sizeBytes || object.customMetadata?.['sha256'] !== sha256
  })
}

async function uploadFiles(bucket: R2Bucket, modelId: string, files: readonly CheckedFile[]): Promise<void> {
  const totalBytes = files.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0)
  const progress = startProgress(`${modelId} to the R2 of this machine, MiB`, inMib(totalBytes))
  let doneBytes = 0
  for (const file of files) {
    await uploadFile(bucket, file, (bytes) => {
      doneBytes += bytes
      progress.update(inMib(doneBytes))
    })
  }
  progress.stop()
}

async function uploadFile(bucket: R2Bucket, file: CheckedFile, onBytes: (bytes: number) => void): Promise<void> {
  const upload = await bucket.createMultipartUpload(contentKey(file.sha256), {
    customMetadata: { sha256: file.sha256 },
  })
  const handle = await open(file.path)
  try {
    const parts: R2UploadedPart[] = []
    for (let position = 0; position < file.sizeBytes; position += PART_BYTES) {
      const part = new Uint8Array(Math.min(PART_BYTES, file.sizeBytes - position))
      await handle.read(part, 0, part.length, position)
      parts.push(await upload.uploadPart(parts.length + 1, part))
      onBytes(part.length)
    }
    await upload.complete(parts)
  } finally {
    await handle.close()
  }
}

function inMib(bytes: number): number {
  return Math.ceil(bytes / 1024 / 1024)
}

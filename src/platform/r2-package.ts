// A model package in an R2 bucket: config.json under a key of its own, every other file under its content's hash, so
// that packages share what they have in common and a key never changes its meaning.
import { ModelPackageError, ModelUnavailableError } from '../errors.ts'
import type { PackageSource } from '../flava/package-source.ts'
import { inLargeChunks } from './large-chunks.ts'

/** Where a package's file of this hash lies. */
export function contentKey(sha256: string): string {
  return `sha256/${sha256}`
}

/** @param configKey key of the package's config.json: `models/<name>/config.json` */
export function r2Package(bucket: R2Bucket, configKey: string): PackageSource {
  return {
    openConfig: async () => (await getObject(bucket, 'config.json', configKey)).body,
    async open({ name, sha256, sizeBytes }) {
      const object = await getObject(bucket, name, contentKey(sha256))
      if (object.size === sizeBytes) return inLargeChunks(object.body)
      await object.body.cancel()
      throw new ModelPackageError(`${name}: expected ${sizeBytes} bytes, the object in R2 has ${object.size}`)
    },
  }
}

async function getObject(bucket: R2Bucket, name: string, key: string): Promise<R2ObjectBody> {
  let object: R2ObjectBody | null
  try {
    object = await bucket.get(key)
  } catch (cause) {
    throw new ModelUnavailableError(`${name}: R2 did not answer for ${key}`, { cause })
  }
  if (object === null) throw new ModelUnavailableError(`${name}: expected an object ${key} in the bucket, found none`)
  return object
}

// A model package as it lies somewhere: static assets, R2, a folder. What is read of it before any tensor.
import type { CreateDigest, PackageFile } from './package-file.ts'
import { parseJson, readUnverified, readWhole } from './package-file.ts'
import { parseManifest, parsePackageFiles } from './manifest.ts'
import type { ModelManifest } from './manifest.ts'

/** Both methods throw ModelUnavailableError when there is no such file. */
export interface PackageSource {
  /** config.json, which nothing vouches for but the place it lies in. */
  openConfig(): Promise<ReadableStream<Uint8Array>>
  open(file: PackageFile): Promise<ReadableStream<Uint8Array>>
}

/** config.json holds geometry, hashes and schemes; flava-full's is 20 KiB. */
const MAX_CONFIG_BYTES = 1024 * 1024

/** config.json and the preprocessor's settings, parsed and checked. @throws ModelPackageError, UnsupportedPackageError */
export async function loadManifest(source: PackageSource, createDigest: CreateDigest): Promise<ModelManifest> {
  const config = parseJson(
    'config.json',
    await readUnverified(await source.openConfig(), 'config.json', MAX_CONFIG_BYTES),
  )
  const { preprocessor } = parsePackageFiles(config)
  return parseManifest(config, await readPackageJson(source, preprocessor, createDigest))
}

/** A JSON file of the package, verified. @throws ModelPackageError, ModelUnavailableError */
export async function readPackageJson(
  source: PackageSource,
  file: PackageFile,
  createDigest: CreateDigest,
): Promise<unknown> {
  return parseJson(file.name, await readWhole(await source.open(file), file, createDigest))
}

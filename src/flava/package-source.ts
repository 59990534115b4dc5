// A model package as it lies somewhere: static assets, R2, a folder. What is read of it before any tensor.
import type { CreateDigest, PackageFile } from './package-file.ts'
import { parseJson, readWhole } from './package-file.ts'
import { parseManifest, parsePackageFiles } from './manifest.ts'
import type { ModelManifest } from './manifest.ts'

/** Both methods throw ModelUnavailableError when there is no such file. */
export interface PackageSource {
  /** The bytes of config.json, which nothing vouches for but the place they lie in. */
  readConfig(): Promise<Uint8Array>
  open(file: PackageFile): Promise<ReadableStream<Uint8Array>>
}

/** config.json and the preprocessor's settings, parsed and checked. @throws ModelPackageError, UnsupportedPackageError */
export async function loadManifest(source: PackageSource, createDigest: CreateDigest): Promise<ModelManifest> {
  const config = parseJson('config.json', await source.readConfig())
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

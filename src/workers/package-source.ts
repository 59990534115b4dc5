// Where an encoder Worker takes its model package from, by its settings: static assets, or R2.

import { MisconfiguredError } from '../errors.ts'
import type { PackageSource } from '../flava/package-source.ts'
import { assetsPackage } from '../platform/assets-package.ts'
import { r2Package } from '../platform/r2-package.ts'

/** Bindings and variables of the two encoder Workers. */
export interface PackageEnv {
  /** "assets", the default, or "r2". */
  MODEL_SOURCE?: string
  /** With "assets": the package's folder. */
  MODEL?: Fetcher
  /** With "r2": the bucket, and the key of the package's config.json in it. */
  WEIGHTS?: R2Bucket
  MODEL_CONFIG_KEY?: string
}

/** @throws MisconfiguredError naming the variable or binding */
export function openPackage(env: PackageEnv): PackageSource {
  const source = env.MODEL_SOURCE ?? 'assets'
  switch (source) {
    case 'assets':
      return assetsPackage(required('MODEL', env.MODEL))
    case 'r2':
      return r2Package(required('WEIGHTS', env.WEIGHTS), required('MODEL_CONFIG_KEY', env.MODEL_CONFIG_KEY))
    default:
      throw new MisconfiguredError(
        `MODEL_SOURCE: expected "assets" or "r2", got ${JSON.stringify(source.slice(0, 40))}`,
      )
  }
}

function required<T>(name: string, value: T | undefined): T {
  if (value !== undefined && value !== '') return value
  throw new MisconfiguredError(`${name}: expected it, as MODEL_SOURCE says; it is not there`)
}

// Brings a pinned npm package into the cache with `npm pack` (no install, no scripts) and checks its hash.
// The cache holds verified tarballs only: a download is checked before it is moved in.

import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { mkdir, mkdtemp, readFile, readdir, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'

import { FetchFailedError, HashMismatchError } from './errors.ts'
import type { PinnedPackage } from './pins.ts'

const run = promisify(execFile)

/**
 * Tarball of a pinned package, from the cache or else from the registry npm is configured for.
 * @param cacheDir folder of verified tarballs, made when missing
 * @returns gzip bytes whose SHA-512 is the pinned one
 * @throws FetchFailedError when npm is missing or cannot fetch; HashMismatchError when other bytes came
 */
export async function fetchPackage(pin: PinnedPackage, cacheDir: string): Promise<Uint8Array> {
  const cached = join(cacheDir, tarballName(pin))
  const present = await readFile(cached).catch(() => undefined)
  if (present !== undefined && integrityOf(present) === pin.integrity) return present
  await mkdir(cacheDir, { recursive: true })
  const scratchDir = await mkdtemp(join(cacheDir, '.fetch-'))
  try {
    await npmPack(pin, scratchDir)
    const [file] = await readdir(scratchDir)
    const tarball = file === undefined ? new Uint8Array() : await readFile(join(scratchDir, file))
    checkIntegrity(pin, tarball)
    if (file !== undefined) await rename(join(scratchDir, file), cached)
    return tarball
  } finally {
    await rm(scratchDir, { recursive: true, force: true })
  }
}

/** @throws HashMismatchError when the bytes are not the pinned ones */
export function checkIntegrity(pin: PinnedPackage, tarball: Uint8Array): void {
  const actual = integrityOf(tarball)
  if (actual === pin.integrity) return
  throw new HashMismatchError(
    `${pin.name}@${pin.version}: expected ${pin.integrity}, got ${actual}; the package is refused`,
  )
}

async function npmPack(pin: PinnedPackage, destination: string): Promise<void> {
  const spec = `${pin.name}@${pin.version}`
  try {
    await run('npm', ['pack', '--silent', '--ignore-scripts', '--pack-destination', destination, spec], {
      cwd: destination,
    })
  } catch (cause) {
    throw new FetchFailedError(`npm pack ${spec}: expected a tarball, npm failed; is the registry reachable?`, {
      cause,
    })
  }
}

function integrityOf(tarball: Uint8Array): string {
  return `sha512-${createHash('sha512').update(tarball).digest('base64')}`
}

function tarballName(pin: PinnedPackage): string {
  return `${pin.name.replace('@', '').replace('/', '-')}-${pin.version}.tgz`
}

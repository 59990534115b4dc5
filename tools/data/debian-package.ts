// Brings a pinned Debian package into the cache with `apt-get download` (nothing is installed), checks its hash and
// reads the files in it. Works where apt and dpkg are, and says so elsewhere.

import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { chmod, mkdir, mkdtemp, readFile, readdir, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'

import { FetchFailedError, HashMismatchError } from './errors.ts'
import type { DebianPin } from './pins.ts'
import { readTar } from './tar.ts'

const run = promisify(execFile)

/** Room for the unpacked archive on dpkg-deb's standard output: 173 MB for openclipart-svg. */
const MAX_UNPACKED_BYTES = 512 * 2 ** 20

/**
 * Regular files of a pinned package (links left out), by path from `./`.
 * @throws FetchFailedError where apt-get or dpkg-deb is missing or fails; HashMismatchError when other bytes came
 */
export async function fetchDebianFiles(pin: DebianPin, cacheDir: string): Promise<Map<string, Uint8Array>> {
  const archive = await fetchArchive(pin, cacheDir)
  const options = { encoding: 'buffer', maxBuffer: MAX_UNPACKED_BYTES } as const
  const { stdout } = await run('dpkg-deb', ['--fsys-tarfile', archive], options).catch((cause: unknown) => {
    throw new FetchFailedError('dpkg-deb: expected it to unpack the package; it is part of Debian and Ubuntu', {
      cause,
    })
  })
  return readTar(stdout)
}

/** Path of the verified .deb in the cache. */
async function fetchArchive(pin: DebianPin, cacheDir: string): Promise<string> {
  const cached = join(cacheDir, `${pin.name}_${pin.version.replace(':', '%3a')}_${pin.architecture}.deb`)
  const present = await readFile(cached).catch(() => undefined)
  if (present !== undefined && sha256(present) === pin.sha256) return cached
  await mkdir(cacheDir, { recursive: true })
  const scratchDir = await mkdtemp(join(cacheDir, '.fetch-'))
  try {
    // apt downloads as its own user when it runs as root.
    await chmod(scratchDir, 0o777)
    await aptDownload(pin, scratchDir)
    const [file] = (await readdir(scratchDir)).filter((name) => name.endsWith('.deb'))
    const bytes = file === undefined ? new Uint8Array() : await readFile(join(scratchDir, file))
    checkSha256(pin, bytes)
    if (file !== undefined) await rename(join(scratchDir, file), cached)
    return cached
  } finally {
    await rm(scratchDir, { recursive: true, force: true })
  }
}

async function aptDownload(pin: DebianPin, directory: string): Promise<void> {
  const spec = `${pin.name}=${pin.version}`
  await run('apt-get', ['download', spec], { cwd: directory }).catch((cause: unknown) => {
    throw new FetchFailedError(
      `apt-get download ${spec}: expected a package, apt-get is missing or does not know that version ` +
        '(it needs a Debian 12 package list; try apt-get update)',
      { cause },
    )
  })
}

function checkSha256(pin: DebianPin, bytes: Uint8Array): void {
  const actual = sha256(bytes)
  if (actual === pin.sha256) return
  throw new HashMismatchError(
    `${pin.name}=${pin.version}: expected SHA-256 ${pin.sha256} (${pin.sizeBytes} bytes), ` +
      `got ${actual} (${bytes.length} bytes); the package is refused`,
  )
}

function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex')
}

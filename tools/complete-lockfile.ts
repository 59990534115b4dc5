// Adds to package-lock.json what a partial registry mirror leaves out: the native packages of other platforms, which npm
// drops silently when it cannot see them, and without which `npm ci` refuses the file. Run after changing a dependency:
//   node tools/complete-lockfile.ts
// Their versions are exact in the package that needs them; only their checksums are unknown here.
import { readFileSync, writeFileSync } from 'node:fs'

interface LockedPackage {
  version?: string
  dev?: boolean
  optional?: boolean
  optionalDependencies?: Record<string, string>
  os?: string[]
  cpu?: string[]
  libc?: string[]
}

export interface Lockfile {
  packages: Record<string, LockedPackage>
}

const SYSTEMS: Record<string, string> = {
  android: 'android',
  darwin: 'darwin',
  freebsd: 'freebsd',
  linux: 'linux',
  openharmony: 'openharmony',
  win32: 'win32',
  windows: 'win32',
}

const PROCESSORS: Record<string, string> = {
  '64': 'x64',
  arm: 'arm',
  arm64: 'arm64',
  ia32: 'ia32',
  ppc64: 'ppc64',
  riscv64: 'riscv64',
  s390x: 's390x',
  x64: 'x64',
}

/** The optional dependencies of locked packages that have no entry: by name, with the package that needs each. */
export function missingPlatformPackages(lockfile: Lockfile): { name: string; version: string; neededBy: string }[] {
  return Object.entries(lockfile.packages).flatMap(([neededBy, { optionalDependencies = {} }]) =>
    Object.entries(optionalDependencies)
      .filter(([name]) => !isLocked(lockfile, neededBy, name))
      .map(([name, version]) => ({ name, version, neededBy })),
  )
}

/** Node's look-up: inside the package, then beside it and in each folder above. */
function isLocked({ packages }: Lockfile, neededBy: string, name: string): boolean {
  const path = neededBy.split('/node_modules/')
  const folders = path.map((_, depth) => `${path.slice(0, depth + 1).join('/node_modules/')}/`)
  return ['', ...folders].some((folder) => `${folder}node_modules/${name}` in packages)
}

/** What npm itself would have written, less the checksum: with `os` and `cpu` it is installed on its platform only. */
export function platformEntry(name: string, version: string, neededBy: LockedPackage): LockedPackage {
  const words = name.split(/[/-]/)
  const os = words.map((word) => SYSTEMS[word]).find((word) => word !== undefined)
  const cpu = words.map((word) => PROCESSORS[word]).findLast((word) => word !== undefined)
  if (os === undefined || cpu === undefined || !/^\d+\.\d+\.\d+[\w.+-]*$/.test(version)) {
    throw new Error(`${name}@${version}: expected a platform in the name and an exact version`)
  }
  const libc = words.includes('musl') ? ['musl'] : words.includes('gnu') ? ['glibc'] : undefined
  return { version, cpu: [cpu], ...(neededBy.dev && { dev: true }), ...(libc && { libc }), optional: true, os: [os] }
}

if (import.meta.main) {
  const lockfile: Lockfile = JSON.parse(readFileSync('package-lock.json', 'utf8'))
  const missing = missingPlatformPackages(lockfile)
  for (const { name, version, neededBy } of missing) {
    lockfile.packages[`node_modules/${name}`] = platformEntry(name, version, lockfile.packages[neededBy] ?? {})
  }
  const sorted = Object.entries(lockfile.packages).toSorted(([a], [b]) => (a < b ? -1 : 1))
  writeFileSync(
    'package-lock.json',
    `${JSON.stringify({ ...lockfile, packages: Object.fromEntries(sorted) }, null, 2)}\n`,
  )
  console.log(`added ${missing.length} packages of other platforms`)
}

import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { missingPlatformPackages, platformEntry, type Lockfile } from '../../tools/complete-lockfile.ts'

test('package-lock.json names the native packages of every platform, so that npm ci works on each', () => {
  const lockfile: Lockfile = JSON.parse(readFileSync('package-lock.json', 'utf8'))
  expect(missingPlatformPackages(lockfile)).toEqual([])
})

test('an optional dependency is missing unless it is locked inside, beside or above the package that needs it', () => {
  const needing = { optionalDependencies: { inside: '1.0.0', beside: '1.0.0', above: '1.0.0', nowhere: '1.0.0' } }
  const packages = {
    'node_modules/outer/node_modules/tool': needing,
    'node_modules/outer/node_modules/tool/node_modules/inside': {},
    'node_modules/outer/node_modules/beside': {},
    'node_modules/above': {},
    'node_modules/other/node_modules/nowhere': {},
  }
  expect(missingPlatformPackages({ packages })).toEqual([
    { name: 'nowhere', version: '1.0.0', neededBy: 'node_modules/outer/node_modules/tool' },
  ])
})

test('an entry carries the platform that its name states, so that it is installed there only', () => {
  expect(platformEntry('@oxlint/binding-linux-arm64-musl', '1.94.0', { dev: true })).toEqual({
    version: '1.94.0',
    cpu: ['arm64'],
    dev: true,
    libc: ['musl'],
    optional: true,
    os: ['linux'],
  })
  expect(platformEntry('@cloudflare/workerd-darwin-64', '1.20261117.1', {})).toMatchObject({
    os: ['darwin'],
    cpu: ['x64'],
  })
})

test('a name without a platform and a version that is a range are refused', () => {
  expect(() => platformEntry('fsevents', '2.3.3', {})).toThrow('expected a platform in the name and an exact version')
  expect(() => platformEntry('@oxlint/binding-darwin-x64', '^1.94.0', {})).toThrow('exact version')
})

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { contentStamp, isStampCurrent, writeStamp } from '../../tools/stamp.mjs'

let folder = ''
let lockfile = ''
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'flava-stamp-'))
  lockfile = join(folder, 'package-lock.json')
  writeFileSync(lockfile, '{"lockfileVersion":3}')
})
afterEach(() => rmSync(folder, { recursive: true }))

test('a written stamp is current until one byte of its input changes', () => {
  const stampPath = join(folder, 'stamp')
  expect(isStampCurrent(stampPath, contentStamp([lockfile]))).toBe(false)
  writeStamp(stampPath, contentStamp([lockfile]))
  expect(isStampCurrent(stampPath, contentStamp([lockfile]))).toBe(true)
  writeFileSync(lockfile, '{"lockfileVersion":4}')
  expect(isStampCurrent(stampPath, contentStamp([lockfile]))).toBe(false)
})

test('the facts beside the files are part of the stamp, and where one ends matters', () => {
  const stamps = [[], ['3.11.7'], ['3.12.1'], ['3.1', '1.7']].map((facts) => contentStamp([lockfile], facts))
  expect(new Set(stamps).size).toBe(4)
})

test('a missing input is an error, not an empty stamp', () => {
  expect(() => contentStamp([join(folder, 'missing')])).toThrow('ENOENT')
})

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test, vi } from 'vitest'
import { findPython } from '../../tools/python-env.ts'

/** Calls `body` with a PATH on which the given names are interpreters of the given versions. */
function withInterpreters<T>(versions: Record<string, string>, body: (folder: string) => T): T {
  const folder = mkdtempSync(join(tmpdir(), 'flava-python-'))
  for (const [name, version] of Object.entries(versions)) {
    writeFileSync(join(folder, name), `#!/bin/sh\necho ${version}\n`, { mode: 0o755 })
  }
  vi.stubEnv('PATH', folder)
  vi.stubEnv('PYTHON', undefined)
  try {
    return body(folder)
  } finally {
    vi.unstubAllEnvs()
    rmSync(folder, { recursive: true })
  }
}

test('the default interpreter is taken when it is new enough, else the newest named one', () => {
  const fresh = { python3: '3.12.4', 'python3.13': '3.13.0' }
  expect(withInterpreters(fresh, () => findPython())).toEqual({ command: 'python3', version: '3.12.4' })
  const old = { python3: '3.9.2', 'python3.11': '3.11.7', 'python3.13': '3.13.0' }
  expect(withInterpreters(old, () => findPython())).toEqual({ command: 'python3.13', version: '3.13.0' })
})

test('PYTHON names the interpreter to use', () => {
  const found = withInterpreters({ python3: '3.12.4', mine: '3.11.0' }, (folder) => findPython(join(folder, 'mine')))
  expect(found.version).toBe('3.11.0')
})

test('without an interpreter that is new enough, the error says what was found', () => {
  expect(() => withInterpreters({ python3: '3.9.2' }, () => findPython())).toThrow(
    'Python 3.11 or newer is needed for the Python half: python3 is 3.9.2',
  )
  expect(() => withInterpreters({}, () => findPython())).toThrow('none was found on PATH')
})

// The bootstrap in a small clone of its own, with a stand-in for npm that notes how it was called.
import { spawn, spawnSync } from 'node:child_process'
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { createInterface } from 'node:readline'
import { afterEach, beforeEach, expect, test } from 'vitest'

let clone = ''
beforeEach(() => {
  clone = mkdtempSync(join(tmpdir(), 'flava-bootstrap-'))
  for (const file of ['bootstrap.mjs', 'foreground.mjs', 'stamp.mjs']) {
    cpSync(join('tools', file), join(clone, 'tools', file))
  }
  writeFileSync(join(clone, 'package.json'), '{"type":"module"}')
  writeFileSync(join(clone, 'package-lock.json'), '{}')
  writeFileSync(
    join(clone, 'hello.ts'),
    'const args: string[] = process.argv.slice(2)\nconsole.log(args)\nprocess.exit(7)',
  )
  installNpm('11.0.0', 0)
})
afterEach(() => rmSync(clone, { recursive: true }))

/** Puts an npm first on PATH that installs nothing but a link to this Node, or fails. */
function installNpm(version: string, exitCode: number): void {
  const lines = [
    '#!/bin/sh',
    `if [ "$1" = --version ]; then echo ${version}; exit 0; fi`,
    'echo "$@" >>npm-calls.txt',
    `if [ ${exitCode} -ne 0 ]; then exit ${exitCode}; fi`,
    `rm -rf node_modules && mkdir -p node_modules/.bin && ln -s '${process.execPath}' node_modules/.bin/node`,
  ]
  mkdirSync(join(clone, 'bin'), { recursive: true })
  writeFileSync(join(clone, 'bin', 'npm'), `${lines.join('\n')}\n`, { mode: 0o755 })
}

function bootstrapEnv(): NodeJS.ProcessEnv {
  return { ...process.env, PATH: [join(clone, 'bin'), process.env['PATH']].join(delimiter) }
}

function bootstrap(...args: string[]) {
  return spawnSync(process.execPath, ['tools/bootstrap.mjs', ...args], {
    cwd: clone,
    env: bootstrapEnv(),
    encoding: 'utf8',
  })
}

function npmCalls(): string[] {
  const path = join(clone, 'npm-calls.txt')
  return existsSync(path) ? readFileSync(path, 'utf8').trim().split('\n') : []
}

test('a fresh clone gets its packages once, and again only after the lockfile has changed', () => {
  bootstrap('hello.ts')
  expect(npmCalls()).toEqual(['ci --include=dev --no-audit --no-fund --loglevel=error'])
  bootstrap('hello.ts')
  expect(npmCalls()).toHaveLength(1)
  writeFileSync(join(clone, 'package-lock.json'), '{"changed":true}')
  bootstrap('hello.ts')
  expect(npmCalls()).toHaveLength(2)
})

test('the script gets its arguments, and its exit code is the exit code', () => {
  const { status, stdout } = bootstrap('hello.ts', '--config', 'a b')
  expect(stdout).toContain("[ '--config', 'a b' ]")
  expect(status).toBe(7)
})

test('a failed installation is reported and tried again the next time', () => {
  installNpm('11.0.0', 1)
  const { status, stderr } = bootstrap('hello.ts')
  expect(status).toBe(1)
  expect(stderr).toBe('error: npm ci failed, see its output above\n')
  installNpm('11.0.0', 0)
  expect(bootstrap('hello.ts').status).toBe(7)
})

test('an npm that is too old is named with the version that is needed', () => {
  installNpm('9.8.1', 0)
  expect(bootstrap('hello.ts').stderr).toBe('error: npm 10 or newer is needed, found npm 9\n')
  expect(npmCalls()).toEqual([])
})

test('a termination signal ends the script too', async () => {
  writeFileSync(join(clone, 'serve.ts'), 'console.log(process.pid)\nsetInterval(() => {}, 1000)')
  const child = spawn(process.execPath, ['tools/bootstrap.mjs', 'serve.ts'], { cwd: clone, env: bootstrapEnv() })
  const exitCode = new Promise((resolve) => child.once('close', resolve))
  const scriptPid = await new Promise<number>((resolve) => {
    createInterface({ input: child.stdout }).on('line', (line) => {
      if (/^\d+$/.test(line)) resolve(Number(line))
    })
  })
  child.kill('SIGTERM')
  expect(await exitCode).toBe(128 + 15)
  expect(() => process.kill(scriptPid, 0)).toThrow('ESRCH')
})

// The command lines of import and verify-flava-full: what they refuse, before any work is done.
import { spawn } from 'node:child_process'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'

let folder = ''

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'import-'))
})

afterAll(async () => {
  await rm(folder, { recursive: true, force: true })
})

interface Ended {
  exitCode: number | null
  stdout: string
  stderr: string
}

async function run(script: string, ...args: string[]): Promise<Ended> {
  const child = spawn(process.execPath, [`tools/${script}.ts`, ...args])
  const output = { stdout: '', stderr: '' }
  child.stdout.on('data', (chunk: Buffer) => (output.stdout += chunk.toString()))
  child.stderr.on('data', (chunk: Buffer) => (output.stderr += chunk.toString()))
  const exitCode = await new Promise<number | null>((resolve) => child.once('close', resolve))
  return { exitCode, ...output }
}

test('import without a folder says what it expects and how it is used', async () => {
  const { exitCode, stderr } = await run('import')
  expect(stderr).toContain('error: expected one checkpoint folder, got 0')
  expect(stderr).toContain('usage: npm run import')
  expect(exitCode).toBe(1)
})

test('import refuses a folder that is not there, a file, an unknown variant and an unknown option', async () => {
  const file = join(folder, 'file')
  await writeFile(file, '')
  const refusals = await Promise.all([
    run('import', join(folder, 'none')),
    run('import', file),
    run('import', folder, '--variant', 'huge'),
    run('import', folder, '--nonsense'),
  ])
  expect(refusals.map(({ exitCode }) => exitCode)).toEqual([1, 1, 1, 1])
  const messages = ['found nothing', 'found a file', '--variant: ', "Unknown option '--nonsense'"]
  messages.forEach((message, index) => expect(refusals[index]?.stderr).toContain(message))
})

test('import of a folder without config.json names the file and the kind of error, without a stack trace', async () => {
  const { exitCode, stderr } = await run('import', folder)
  expect(stderr).toContain(`checkpoint_file_missing: ${join(folder, 'config.json')}: expected a file, found none`)
  expect(stderr).not.toContain('    at ')
  expect(exitCode).toBe(1)
})

test('verify-flava-full refuses missing arguments and files that are not there with exit code 2', async () => {
  const none = join(folder, 'none.jpg')
  const [unusable, missing] = await Promise.all([
    run('verify-flava-full', folder),
    run('verify-flava-full', folder, none),
  ])
  expect(unusable).toMatchObject({ exitCode: 2 })
  expect(unusable.stderr).toContain('expected a checkpoint folder and an image, got 1 arguments')
  expect(missing).toMatchObject({ exitCode: 2, stderr: `error: ${none}: no such file or folder\n` })
})

// A package is put in place whole, and what else lies in the folder stays.
import { mkdir, mkdtemp, readdir, readFile, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { installPackage, writeWhole } from '../../../tools/export/install-package.ts'

async function folderWith(files: Record<string, string>): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'flava-install-'))
  for (const [name, text] of Object.entries(files)) await writeFile(join(folder, name), text)
  return folder
}

test('a new folder gets every file, readable by others, and nothing is left beside it', async () => {
  const staged = await folderWith({ 'config.json': '1', 'text.safetensors': '2' })
  const models = await folderWith({})
  await installPackage(staged, join(models, 'a', 'tiny'))
  expect((await readdir(join(models, 'a', 'tiny'))).toSorted()).toEqual(['config.json', 'text.safetensors'])
  expect(await readdir(join(models, 'a'))).toEqual(['tiny'])
  expect((await stat(join(models, 'a', 'tiny'))).mode & 0o777).toBe(0o755)
})

test('in a folder that is there files are replaced, format 1 is cleared away, and others stay', async () => {
  const staged = await folderWith({ 'config.json': 'new', 'text.safetensors': 'new' })
  const out = await folderWith({ 'config.json': 'old', 'model.safetensors': 'old', 'scores.json': 'kept' })
  await mkdir(join(out, 'checkpoint'))
  await installPackage(staged, out)
  expect((await readdir(out)).toSorted()).toEqual(['checkpoint', 'config.json', 'scores.json', 'text.safetensors'])
  expect(await readFile(join(out, 'config.json'), 'utf8')).toBe('new')
  expect(await readFile(join(out, 'scores.json'), 'utf8')).toBe('kept')
})

test('writeWhole replaces a file and leaves nothing beside it', async () => {
  const folder = await folderWith({ 'parity.json': 'old' })
  await writeWhole(join(folder, 'parity.json'), 'new')
  expect(await readFile(join(folder, 'parity.json'), 'utf8')).toBe('new')
  expect(await readdir(folder)).toEqual(['parity.json'])
})

// The fp32 side of an evaluation must be the very checkpoint that a package was made from.
import { mkdir, mkdtemp, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { beforeEach, expect, test } from 'vitest'
import { findCheckpoint } from '../../../tools/eval/find-checkpoint.ts'

let models: string

beforeEach(async () => {
  models = await mkdtemp(join(tmpdir(), 'flava-models-'))
})

async function addPackage(name: string, checkpoint: string, hasCheckpoint: boolean): Promise<string> {
  const folder = join(models, name)
  await mkdir(hasCheckpoint ? join(folder, 'checkpoint') : folder, { recursive: true })
  await writeFile(join(folder, 'config.json'), JSON.stringify({ flava_edge: { checkpoint } }))
  return folder
}

test('a package has it in itself, or a package of the same checkpoint beside it has it', async () => {
  await addPackage('other', 'bb', true)
  const whole = await addPackage('tiny', 'aa', true)
  const small = await addPackage('tiny-small', 'aa', false)
  expect(await findCheckpoint(whole)).toBe(join(whole, 'checkpoint'))
  expect(await findCheckpoint(small)).toBe(join(whole, 'checkpoint'))
})

test('a checkpoint of other weights is not taken for it', async () => {
  await addPackage('other', 'bb', true)
  const lonely = await addPackage('tiny', 'aa', false)
  await expect(findCheckpoint(lonely)).rejects.toMatchObject({ code: 'checkpoint_missing' })
})

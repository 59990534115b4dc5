// What the reference vectors' cache is keyed by: everything that decides an input or a vector.
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { referenceKey } from '../../../tools/export/reference-vectors.ts'

const ROWS = [
  { image: 'a.png', concept_split: 'dev' },
  { image: 'b.png', concept_split: 'train' },
]
const FILES = {
  'checkpoint/config.json': '{}',
  'checkpoint/tokenizer.json': '{}',
  'gpu/requirements.lock': 'torch==2.0.0',
  'gpu/flava_gpu/parity.py': 'import flava_gpu.reference_forward',
  'gpu/flava_gpu/reference_forward.py': '',
  'data/pairs.jsonl': `${ROWS.map((row) => JSON.stringify(row)).join('\n')}\n`,
  'data/images/a.png': 'dev picture',
  'data/images/b.png': 'train picture',
}

let folder: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'flava-reference-'))
  for (const directory of ['checkpoint', 'gpu/flava_gpu', 'data/images']) {
    mkdirSync(join(folder, directory), { recursive: true })
  }
  for (const [name, content] of Object.entries(FILES)) writeFileSync(join(folder, name), content)
})
afterEach(() => rmSync(folder, { recursive: true }))

function key(checkpointSha256 = 'aa'): Promise<string> {
  const options = { checkpoint: join(folder, 'checkpoint'), checkpointSha256, data: join(folder, 'data') }
  return referenceKey(options, join(folder, 'gpu'))
}

test.each(Object.keys(FILES).filter((name) => !name.includes('b.png')))('changes with %s', async (name) => {
  const before = await key()
  writeFileSync(join(folder, name), `${Object.entries(FILES).find(([file]) => file === name)?.[1]}\n`)
  expect(await key()).not.toBe(before)
})

test('changes with the checkpoint, and not with pictures of other splits', async () => {
  const before = await key()
  expect(await key('bb')).not.toBe(before)
  writeFileSync(join(folder, 'data/images/b.png'), 'another')
  expect(await key()).toBe(before)
})

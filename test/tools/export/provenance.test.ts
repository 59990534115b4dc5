// The card may claim only what somebody said of these very weights.
import { mkdtemp, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { readOrigin } from '../../../tools/export/provenance.ts'

const CHECKPOINT = 'a'.repeat(64)

async function checkpointWith(files: Record<string, unknown>): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'flava-provenance-'))
  for (const [name, value] of Object.entries(files)) await writeFile(join(folder, name), JSON.stringify(value))
  return folder
}

function origin(checkpoint: string, provenanceFile: string | null = null) {
  return readOrigin({ checkpoint, checkpointSha256: CHECKPOINT, provenanceFile })
}

test('a folder without a word about itself has no origin', async () => {
  expect(await origin(await checkpointWith({}))).toEqual({ provenance: null, training: null })
})

test('the folder speaks for itself, a file that was named goes before it', async () => {
  const folder = await checkpointWith({ 'provenance.json': { checkpoint: CHECKPOINT, summary: ['Mine.'] } })
  expect((await origin(folder)).provenance?.summary).toEqual(['Mine.'])
  const other = await checkpointWith({ 'other.json': { summary: ['Theirs.'] } })
  expect((await origin(folder, join(other, 'other.json'))).provenance?.summary).toEqual(['Theirs.'])
})

test('what is said of other weights is left out, and refused when it was named', async () => {
  const folder = await checkpointWith({ 'provenance.json': { checkpoint: 'b'.repeat(64), summary: ['Other.'] } })
  expect((await origin(folder)).provenance).toBeNull()
  await expect(origin(folder, join(folder, 'provenance.json'))).rejects.toMatchObject({ code: 'provenance_invalid' })
})

test('a file that is missing, not JSON or of another shape is named', async () => {
  const folder = await checkpointWith({ 'provenance.json': { summary: 'one string' } })
  await expect(origin(folder)).rejects.toThrow(/provenance\.json: [\s\S]*summary/)
  await expect(origin(folder, join(folder, 'nothing.json'))).rejects.toThrow('nothing.json: no such file')
  await writeFile(join(folder, 'provenance.json'), '{')
  await expect(origin(folder)).rejects.toThrow('provenance.json: not JSON')
})

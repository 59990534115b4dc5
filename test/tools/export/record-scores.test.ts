// Saved scores reach the card and parity.json of the weights they were measured on, and of no others.
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { renderModelCard } from '../../../tools/export/model-card.ts'
import { readParityReport } from '../../../tools/export/parity-report.ts'
import { recordScores } from '../../../tools/export/record-scores.ts'
import { tinyPackage } from '../../flava/tiny-package.ts'
import { tinyReport, writePackage } from './tiny-parity.ts'

const ROW = { suite: 'retrieval', split: 'A', engine: 'edge', direction: 'i2t', r1: 6, r5: 17, r10: 24, n: 1402 }

async function describedPackage(scoredWeights: string): Promise<string> {
  const { manifest } = tinyPackage()
  const directory = await writePackage(tinyPackage())
  const facts = {
    name: 'tiny',
    manifest,
    parity: tinyReport(),
    origin: { provenance: null, training: null },
    scores: [],
  }
  await writeFile(join(directory, 'README.md'), await renderModelCard(facts))
  await writeFile(join(directory, 'parity.json'), JSON.stringify(tinyReport()))
  await writeFile(join(directory, 'scores.json'), JSON.stringify({ model: { weights: scoredWeights }, rows: [ROW] }))
  return directory
}

test('scores of the same weights are recorded', async () => {
  const directory = await describedPackage(tinyPackage().manifest.weights)
  await recordScores(directory)
  expect((await readParityReport(directory)).retrieval).toEqual({ dev: null, saved: [ROW] })
  expect(await readFile(join(directory, 'README.md'), 'utf8')).toContain(
    '| A | edge | i2t | 1402 | 6.0 | 17.0 | 24.0 |',
  )
})

test('scores of other weights change nothing, and a package without a report is left alone', async () => {
  const directory = await describedPackage('f'.repeat(64))
  await recordScores(directory)
  expect((await readParityReport(directory)).retrieval).toBeNull()
  expect(await readFile(join(directory, 'README.md'), 'utf8')).toContain('No scores are recorded')
  await recordScores(await writePackage(tinyPackage()))
})

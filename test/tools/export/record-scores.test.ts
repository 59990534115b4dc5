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

const TARGETS = {
  command: 'npm run eval -- targets',
  date: '2026-11-25T01:02:03',
  cpu: 'a CPU',
  lines: [
    {
      title: 'group, linear probe',
      unit: '%',
      must: 50,
      aim: 65,
      got: 41.25,
      low: 38.7,
      high: 43.9,
      n: 1402,
      floors: { chance: 11.11 },
      verdict: 'missed',
    },
    {
      title: 'edge package',
      unit: 'MiB',
      must: 12,
      aim: null,
      got: 4.9,
      low: null,
      high: null,
      n: null,
      floors: {},
      verdict: 'must reached',
    },
  ],
}

async function describedPackage(scoredWeights: string): Promise<string> {
  const { manifest } = tinyPackage()
  const directory = await writePackage(tinyPackage())
  const facts = {
    name: 'tiny',
    manifest,
    parity: tinyReport(),
    origin: { provenance: null, training: null },
    scores: [],
    targets: null,
    hasConfusions: false,
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

test('targets get their section, and a second run replaces it', async () => {
  const directory = await describedPackage(tinyPackage().manifest.weights)
  const scores = { model: { weights: tinyPackage().manifest.weights }, rows: [ROW], targets: TARGETS }
  await writeFile(join(directory, 'scores.json'), JSON.stringify(scores))
  await writeFile(join(directory, 'confusions.png'), '')
  await recordScores(directory)
  const once = await readFile(join(directory, 'README.md'), 'utf8')
  expect(once).toContain('| group, linear probe | 50 % | 65 % | 41.3 (38.7 to 43.9) | 1402 | chance 11.1 | missed |')
  expect(once).toContain('| edge package | ≤ 12 MiB |  | 4.9 |  |  | must reached |')
  expect(once).toContain('`npm run eval -- targets`, 2026-11-25, a CPU.')
  expect(once).toContain('](confusions.png)')
  expect(once).not.toContain('was not measured on this package')
  await recordScores(directory)
  expect(await readFile(join(directory, 'README.md'), 'utf8')).toBe(once)
})

test('a card that was made before there were targets gets the section before its scores', async () => {
  const directory = await describedPackage(tinyPackage().manifest.weights)
  const card = await readFile(join(directory, 'README.md'), 'utf8')
  const old = card.replace(/\n## Targets\n[\s\S]*?(?=\n## )/, '')
  expect(old).not.toContain('## Targets')
  await writeFile(join(directory, 'README.md'), old)
  const scores = { model: { weights: tinyPackage().manifest.weights }, rows: [ROW], targets: TARGETS }
  await writeFile(join(directory, 'scores.json'), JSON.stringify(scores))
  await recordScores(directory)
  const written = await readFile(join(directory, 'README.md'), 'utf8')
  expect(written.indexOf('## Targets')).toBeGreaterThan(0)
  expect(written.indexOf('## Targets')).toBeLessThan(written.indexOf('## Scores'))
})

test('scores of other weights change nothing, and a package without a report is left alone', async () => {
  const directory = await describedPackage('f'.repeat(64))
  await recordScores(directory)
  expect((await readParityReport(directory)).retrieval).toBeNull()
  expect(await readFile(join(directory, 'README.md'), 'utf8')).toContain('No scores are recorded')
  await recordScores(await writePackage(tinyPackage()))
})

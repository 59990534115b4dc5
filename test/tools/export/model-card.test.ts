// The model card says what was measured: every placeholder filled, a failed gate and missing scores said aloud.
import { expect, test } from 'vitest'
import { parseManifest } from '../../../src/flava/manifest.ts'
import { renderModelCard, scoreSchema } from '../../../tools/export/model-card.ts'
import type { CardFacts } from '../../../tools/export/model-card.ts'
import { tinyConfig, tinyPreprocessor } from '../../flava/tiny-package.ts'

const SUMMARY = { count: 208, mean: 0.99998, p1: 0.99991, min: 0.99987 }

const FACTS: CardFacts = {
  name: 'flava-tiny',
  manifest: parseManifest(tinyConfig(), tinyPreprocessor()),
  parity: {
    gate: { minCosine: 0.9995, isPassed: true },
    checkpoint: 'c',
    space: 's',
    weights: 'w',
    scheme: 'w7a8',
    rounding: 'nearest',
    reference: 'transformers 5.18.0',
    areBuildsBitEqual: true,
    text: SUMMARY,
    image: SUMMARY,
    devImage: null,
    tensorErrors: {},
    bytes: {},
  },
  training: {
    config: {
      optimization: { updates: 4600, batch_size: 256, learning_rate: 0.001 },
      fusion: { updates: 400, batch_size: 128 },
    },
    data_manifest: 'abc123',
    seconds: 4800,
    images_per_second: 222.5,
  },
  scores: [],
  fileBytes: 5 * 1024 * 1024,
}

test('a card opens with YAML, fills every placeholder and keeps the braces of BibTeX', async () => {
  const card = await renderModelCard(FACTS)
  expect(card).toMatch(/^---\nlicense: apache-2\.0\n/)
  expect(card).not.toMatch(/\{\{[a-zA-Z]+\}\}/)
  expect(card).toContain('{{FLAVA}: A Foundational')
  expect(card).toContain('| texts | 208 | 0.999980 | 0.999910 | 0.999870 |')
  expect(card).toContain('4600 updates of 256 pairs')
  expect(card).toContain('5.0 MiB')
})

test('a card without scores or training record says so', async () => {
  const card = await renderModelCard({ ...FACTS, training: null })
  expect(card).toContain('No scores are recorded for this package yet')
  expect(card).toContain('came without a training record')
})

test('a card of a package below the gate says so', async () => {
  const parity = { ...FACTS.parity, gate: { minCosine: 0.9995, isPassed: false }, areBuildsBitEqual: false }
  const card = await renderModelCard({ ...FACTS, parity })
  expect(card).toContain('does not pass the gate')
  expect(card).toContain('DIFFERENT bits')
})

test('a card lists the rows of an evaluation', async () => {
  const line = { suite: 'retrieval', split: 'A', engine: 'edge', direction: 'i2t', r1: 6, r5: 17.25, r10: 24, n: 1402 }
  const card = await renderModelCard({ ...FACTS, scores: [scoreSchema.parse(line)] })
  expect(card).toContain('| A | edge | i2t | 1402 | 6.0 | 17.3 | 24.0 |')
})

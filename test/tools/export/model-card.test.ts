// The model card says what was measured and recorded: every placeholder filled, a failed gate and missing facts said aloud.
import { describe, expect, test } from 'vitest'
import { scoreSchema } from '../../../tools/eval/scores-file.ts'
import { renderModelCard, withScores } from '../../../tools/export/model-card.ts'
import type { CardFacts } from '../../../tools/export/model-card.ts'
import { provenanceSchema } from '../../../tools/export/provenance.ts'
import { tinyPackage } from '../../flava/tiny-package.ts'
import { tinyReport } from './tiny-parity.ts'

const FACTS: CardFacts = {
  name: 'flava-tiny',
  manifest: tinyPackage().manifest,
  parity: tinyReport(),
  origin: {
    provenance: provenanceSchema.parse({
      summary: ['It knows nothing.'],
      language: 'en',
      tags: ['emoji'],
      datasets: ['cldr'],
      training: ['The run was short.'],
      limits: ['- All of them.'],
      scores: ['Splits: A is easy.'],
      attributions: ['From nowhere.'],
    }),
    training: {
      stages: [
        { name: 'words', stage: 'text', updates: 900, batch_size: 128, learning_rate: 0.002, seconds: 600 },
        { name: 'tiny', stage: 'joint', updates: 4600, batch_size: 256, learning_rate: 0.001, seconds: 4800 },
      ],
      heads: ['contrastive', 'itm'],
      data_manifest: 'abc123',
    },
  },
  scores: [],
  targets: null,
  hasConfusions: false,
}

const UNKNOWN = { provenance: null, training: null }
const LINE = { suite: 'retrieval', split: 'A', engine: 'edge', direction: 'i2t', r1: 6, r5: 17.25, r10: 24, n: 1402 }

describe('renderModelCard', () => {
  test('opens with YAML, fills every placeholder and keeps the braces of BibTeX', async () => {
    const card = await renderModelCard(FACTS)
    expect(card).toMatch(/^---\nlicense: apache-2\.0\nlanguage: en\n/)
    expect(card).not.toMatch(/\{\{[a-zA-Z]+\}\}/)
    expect(card).toContain('{{FLAVA}: A Foundational')
    expect(card).toContain('| texts | 208 | 0.999980 | 0.999910 | 0.999870 |')
    expect(card).toContain('| bits per Linear weight |')
  })

  test('tells what is known of the checkpoint, record and account', async () => {
    const card = await renderModelCard(FACTS)
    expect(card).toContain('| tiny | joint | 4600 | 256 | 0.001 | 80 |')
    expect(card).toContain('90 minutes in all. Heads that were trained: contrastive, itm.')
    expect(card).toContain('The run was short.')
    expect(card).toContain('It knows nothing.')
    expect(card).toContain('  - emoji\n')
    expect(card).toContain('datasets:\n  - cldr\n')
  })

  test('claims nothing of a checkpoint that nobody gave an account of', async () => {
    const card = await renderModelCard({ ...FACTS, origin: UNKNOWN })
    expect(card).toContain('came without a training record')
    expect(card).toContain('is not recorded in this package')
    expect(card).toContain('No scores are recorded for this package')
    expect(card).not.toMatch(/emoji|language:|datasets:/i)
  })

  test('says that a package is below its gate or does not fit', async () => {
    const parity = tinyReport({ all: { count: 208, mean: 0.9, p1: 0.8, min: 0.7 }, areBuildsEqual: false })
    const unfit = { ...parity, edge: { ...parity.edge, isFitting: false } }
    const card = await renderModelCard({ ...FACTS, parity: unfit })
    expect(card).toContain('below its gate')
    expect(card).toContain('- text: mean cosine: expected at least 0.998, got 0.9')
    expect(card).toContain('does not fit a Worker')
    expect(card).toContain('DIFFERENT bits')
  })

  test('lists the rows of an evaluation', async () => {
    const card = await renderModelCard({ ...FACTS, scores: [scoreSchema.parse(LINE)] })
    expect(card).toContain('| A | edge | i2t | 1402 | 6.0 | 17.3 | 24.0 |')
  })
})

describe('withScores', () => {
  test.each([
    ['an account', FACTS.origin],
    ['nothing', UNKNOWN],
  ])('gives the card that the same scores would have given, with %s about them', async (_, origin) => {
    const rows = [scoreSchema.parse(LINE)]
    const other = [scoreSchema.parse({ ...LINE, split: 'B' }), ...rows]
    const [none, one, two] = await Promise.all(
      [[], rows, other].map((scores) => renderModelCard({ ...FACTS, origin, scores })),
    )
    expect(withScores(none!, rows)).toBe(one)
    expect(withScores(one!, other)).toBe(two)
    expect(withScores(two!, [])).toBe(none)
  })

  test('refuses a card without such a section', () => {
    expect(() => withScores('# A card', [])).toThrow('no section of scores')
  })
})

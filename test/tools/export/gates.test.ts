// The gates of the issue, on their edges: at the limit passes, a step below does not.
import { describe, expect, test } from 'vitest'
import { checkGates, describeGate } from '../../../tools/export/gates.ts'
import type { EncoderMeasurement } from '../../../tools/export/measure-encoders.ts'
import { limitsOf, packageFolderOf } from '../../../tools/export/variants.ts'

function measured(mean: number, p1: number, count = 200, areBuildsEqual = true): EncoderMeasurement {
  const all = { count: count + 8, mean, p1, min: p1 }
  return { all, distinctCount: count, dev: null, layers: [], layerInputs: 0, twinCount: 8, areBuildsEqual }
}

function failures(variant: string, text: EncoderMeasurement, image = text, points: readonly number[] = []): string[] {
  const retrievalCosts = points.map((lost) => ({ split: 'dev', direction: 'i2t' as const, points: lost }))
  return checkGates({ variant, text, image, retrievalCosts })
    .filter(({ isPassed }) => !isPassed)
    .map(describeGate)
}

describe('checkGates', () => {
  test.each([
    ['default', 0.998, 0.996],
    ['small', 0.988, 0.98],
    ['w7', 0.998, 0],
    ['w8', 0.999, 0],
  ])('%s passes at mean %d and first percentile %d, and not a step below', (variant, mean, p1) => {
    expect(failures(variant, measured(mean, p1))).toEqual([])
    expect(failures(variant, measured(mean - 1e-6, p1))).toHaveLength(2)
    // Without a limit on the first percentile any is as good.
    expect(failures(variant, measured(mean, p1 - 1e-6))).toHaveLength(p1 > 0 ? 2 : 0)
  })

  test('either encoder alone can fail a package', () => {
    expect(failures('default', measured(1, 1), measured(0.5, 1))).toEqual([
      'image: mean cosine: expected at least 0.998, got 0.5',
    ])
  })

  test('too few distinct inputs and builds that differ fail whatever the cosines are', () => {
    expect(failures('default', measured(1, 1, 199), measured(1, 1))).toEqual([
      'text: distinct inputs: expected at least 200, got 199',
    ])
    expect(failures('default', measured(1, 1), measured(1, 1, 200, false))).toHaveLength(1)
  })

  test('retrieval may lose half a point, and one and a half in the small package', () => {
    expect(failures('default', measured(1, 1), measured(1, 1), [0.5, -2])).toEqual([])
    expect(failures('default', measured(1, 1), measured(1, 1), [0.51])).toHaveLength(1)
    expect(failures('small', measured(1, 1), measured(1, 1), [1.5])).toEqual([])
    expect(failures('small', measured(1, 1), measured(1, 1), [1.51])).toHaveLength(1)
  })
})

test('a variant that is not known is held to the limits of the default', () => {
  expect(limitsOf('mine')).toEqual(limitsOf('default'))
})

test('only the default package has the name as it is', () => {
  expect(packageFolderOf('models/x', 'default')).toBe('models/x')
  expect(packageFolderOf('models/x', 'small')).toBe('models/x-small')
})

// Families and splits: the rules on small inputs, and the whole split as it was frozen. The frozen table comes from
// another program (a Python script that states the same rules), one line a concept: key, family (`=`: its own), split.

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'

import { buildFamilies } from '../../../tools/data/families.ts'
import { readNearDuplicates } from '../../../tools/data/pins.ts'
import { splitOfFamily } from '../../../tools/data/splits.ts'

interface FrozenConcept {
  key: string
  family: string
  split: string
}

const FROZEN: FrozenConcept[] = readFileSync(join(import.meta.dirname, 'frozen/concept-splits.txt'), 'utf8')
  .trim()
  .split('\n')
  .map((line) => {
    const [key = '', family = '', split = ''] = line.split(' ')
    return { key, family: family === '=' ? key : family, split }
  })
const CONCEPTS = FROZEN.map(({ key }) => key)
// Handshakes of two skin tones are the only sequences with tones that join what is apart without them: two hands.
const KEYS = [...CONCEPTS, '1FAF1-1F3FB-200D-1FAF2-1F3FC']

function tally(values: readonly string[]): Record<string, number> {
  const counts: Record<string, number> = {}
  for (const value of values) counts[value] = (counts[value] ?? 0) + 1
  return counts
}

/** Which of the keys are together, whatever the families are called. */
function partition(keys: readonly string[], order: readonly string[]): string[] {
  const families = buildFamilies(order, readNearDuplicates())
  const members = new Map<string, string[]>()
  for (const key of keys) members.set(families.of(key), [...(members.get(families.of(key)) ?? []), key])
  return Array.from(members.values(), (group) => group.join(' ')).toSorted()
}

describe('buildFamilies', () => {
  test.each([
    ['skin tones', '1F44B', '1F44B-1F3FD'],
    ['genders', '1F9D1-200D-1F680', '1F469-200D-1F680'],
    ['gender signs', '1F3C3', '1F3C3-200D-2640'],
    ['directions', '1F6B6', '1F6B6-200D-27A1'],
    ['a profession and its object', '1F9D1-200D-1F393', '1F393'],
    ['a black cat and a cat', '1F408-200D-2B1B', '1F408'],
    ['clock faces', '1F550', '1F567'],
    ['keycaps', '0031-20E3', '0023-20E3'],
    ['couples and families', '1F46B', '1F468-200D-1F469-200D-1F466'],
    ['near-duplicate pictures', '1F311', '26AB'],
  ])('joins %s', (_why, a, b) => {
    const families = buildFamilies(KEYS, readNearDuplicates())
    expect(families.of(a)).toBe(families.of(b))
  })

  test('joins a lime with the lemon it is drawn from, not with the green square that only colours it', () => {
    const families = buildFamilies(KEYS, readNearDuplicates())
    expect(families.of('1F34B-200D-1F7E9')).toBe(families.of('1F34B'))
    expect(families.of('1F34B-200D-1F7E9')).not.toBe(families.of('1F7E9'))
  })

  test('joins through a chain of near duplicates', () => {
    const families = buildFamilies(
      ['1F34E', '1F34F', '1F350'],
      [
        ['1F34E', '1F34F'],
        ['1F34F', '1F350'],
      ],
    )
    expect(new Set(['1F34E', '1F34F', '1F350'].map(families.of)).size).toBe(1)
  })

  test('makes the same groups whatever the order of the keys', () => {
    const expected = partition(CONCEPTS, KEYS)
    fc.assert(
      fc.property(fc.shuffledSubarray(KEYS, { minLength: KEYS.length }), (order) => {
        expect(partition(CONCEPTS, order)).toEqual(expected)
      }),
      { seed: 7, numRuns: 5 },
    )
  })

  test('gives every one of the 1,652 concepts its frozen family', () => {
    const families = buildFamilies(KEYS, readNearDuplicates())
    expect(CONCEPTS.map((key) => `${key} ${families.of(key)}`)).toEqual(
      FROZEN.map(({ key, family }) => `${key} ${family}`),
    )
  })
})

describe('splitOfFamily', () => {
  test('gives every one of the 1,652 concepts its frozen split', () => {
    expect(FROZEN.map(({ family }) => splitOfFamily(family))).toEqual(FROZEN.map(({ split }) => split))
  })

  test('splits 1,402 / 92 / 158 concepts and 1,065 / 57 / 125 families', () => {
    const families = buildFamilies(KEYS, readNearDuplicates())
    const names = CONCEPTS.map(families.of)
    expect(tally(names.map(splitOfFamily))).toEqual({ train: 1402, dev: 92, test: 158 })
    expect(tally([...new Set(names)].map(splitOfFamily))).toEqual({ train: 1065, dev: 57, test: 125 })
  })

  test('holds out about 10 % for tests and 5 % for tuning, over 10,000 names within 1 point', () => {
    const counts = tally(Array.from({ length: 10_000 }, (_, i) => splitOfFamily(`family ${i}`)))
    expect(Math.abs((counts['test'] ?? 0) - 1000)).toBeLessThan(100)
    expect(Math.abs((counts['dev'] ?? 0) - 500)).toBeLessThan(100)
  })

  test.each(['PEOPLE-GROUP', 'CLOCK-FACE', 'KEYCAP'])('keeps %s in training', (family) => {
    expect(splitOfFamily(family)).toBe('train')
  })
})

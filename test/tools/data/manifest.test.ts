// The identity of a data set, its counts and its sheets; and what the list of packages promises.

import { describe, expect, test } from 'vitest'

import { planSheets } from '../../../tools/data/contact-sheet.ts'
import { countRows, formatCounts } from '../../../tools/data/counts.ts'
import { HashMismatchError } from '../../../tools/data/errors.ts'
import { checkIntegrity } from '../../../tools/data/fetch-package.ts'
import { hashOfImages, hashOfParts } from '../../../tools/data/manifest.ts'
import { readOpenclipartPin, readPackagePins } from '../../../tools/data/pins.ts'
import type { PairRow } from '../../../tools/data/rows.ts'
import { roleOfStyle } from '../../../tools/data/splits.ts'

function row(style: string, key: string, split: PairRow['concept_split'], more: Partial<PairRow> = {}): PairRow {
  return {
    image: `${style}/${key}.png`,
    style,
    style_role: roleOfStyle(style),
    key,
    family: key.slice(0, 5),
    concept_split: split,
    name: key,
    group: '',
    subgroup: '',
    skin: false,
    kind: 'concept',
    captions: { en: [key, 'shared'] },
    ...more,
  }
}

const ROWS = [
  row('noto', '1F600', 'train'),
  row('noto', '1F44B-1F3FB', 'train', { skin: true }),
  row('noto', '1F44B', 'train'),
  row('noto', '1F981', 'dev'),
  row('twemoji', '1F600', 'train'),
  row('twemoji', '1F1E9-1F1EA', 'flag', { kind: 'countryflag' }),
  row('openmoji', '1F600', 'train'),
  row('openmoji', '1F98A', 'test'),
  row('fxemoji', '1F600', 'train'),
  row('openmoji', 'E000', 'extra', { kind: 'extra' }),
]

describe('hash', () => {
  test('of pictures depends on path and bytes, not on order', () => {
    const images = [['a.png', '1'] as const, ['b.png', '2'] as const]
    const hash = hashOfImages(new Map(images))
    expect(hashOfImages(new Map(images.toReversed()))).toBe(hash)
    expect(
      hashOfImages(
        new Map([
          ['a.png', '2'],
          ['b.png', '1'],
        ]),
      ),
    ).not.toBe(hash)
  })

  test('of a set changes with each of its parts', () => {
    const parts = { pairs: 'a', glosses: 'b', images: 'c' }
    const changed = Object.keys(parts).map((name) => hashOfParts({ ...parts, [name]: 'x' }))
    expect(new Set([hashOfParts(parts), ...changed]).size).toBe(4)
  })
})

describe('countRows', () => {
  test('counts pictures by style and column, concepts and families by split', () => {
    const counts = countRows(ROWS)
    expect(counts).toMatchObject({ rows: 10, train_base_images: 3, distinct_train_captions: 3 })
    expect(counts.styles['noto']).toMatchObject({ train: 2, 'train+skin': 1, dev: 1, test: 0 })
    expect(counts.styles['openmoji']).toMatchObject({ train: 1, test: 1, extra: 1 })
    expect(counts.concepts).toEqual({ train: 2, dev: 1, test: 1 })
    expect(counts.families).toEqual({ train: 2, dev: 1, test: 1 })
    expect(formatCounts(counts).split('\n')).toHaveLength(5)
  })
})

test('planSheets shows base concepts only: training without held-out styles, the others with all styles that have them', () => {
  const images = Object.fromEntries(
    planSheets(ROWS).map(({ name, entries }) => [name, entries.flatMap((entry) => entry.images)]),
  )
  expect(images).toEqual({
    train: ['noto/1F600.png', 'twemoji/1F600.png', 'noto/1F44B.png', undefined],
    'dev-concepts': ['noto/1F981.png'],
    'test-concepts': ['openmoji/1F98A.png'],
    'dev-style': ['fxemoji/1F600.png'],
    'test-style': ['openmoji/1F600.png', 'openmoji/1F98A.png'],
  })
})

describe('package pins', () => {
  test('no package used in training has a share-alike or copyleft licence', () => {
    const licenses = [...readPackagePins().filter(({ use }) => use === 'train' || use === 'text'), readOpenclipartPin()]
    expect(licenses.length).toBeGreaterThan(10)
    for (const { name, license } of licenses) expect(`${name}: ${license}`).not.toMatch(/SA|GPL/)
  })

  test('a tarball with other bytes than the pinned ones is refused by name', () => {
    const [pin] = readPackagePins()
    expect(pin).toBeDefined()
    if (pin === undefined) return
    expect(() => checkIntegrity(pin, new Uint8Array([1, 2, 3]))).toThrow(HashMismatchError)
    expect(() => checkIntegrity(pin, new Uint8Array())).toThrow(`${pin.name}@${pin.version}: expected ${pin.integrity}`)
  })
})

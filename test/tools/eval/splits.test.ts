// Which items each split asks and offers, on a small made-up data set, and how scores follow from vectors.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { DataMissingError, EngineFailedError, EvaluationDataError } from '../../../tools/eval/errors.ts'
import { recallsOf } from '../../../tools/eval/ranks.ts'
import { rankSplit, requestFor, tabulate } from '../../../tools/eval/score-splits.ts'
import { buildSplit, readConceptRows, type DataRow, type SplitName } from '../../../tools/eval/splits.ts'

const STYLES = { noto: 'train-style', twemoji: 'train-style', fxemoji: 'dev-style', openmoji: 'test-style' } as const
const CONCEPTS = { cat: 'train', dog: 'train', cow: 'dev', hat: 'test', bus: 'test' } as const

function makeRows(): DataRow[] {
  return Object.entries(STYLES).flatMap(([style, style_role]) =>
    Object.entries(CONCEPTS).map(([name, concept_split]) => ({
      image: `${style}/${name}.png`,
      style,
      style_role,
      key: `key of ${name}`,
      concept_split,
      name,
      kind: 'concept' as const,
      skin: false,
    })),
  )
}

const folder = mkdtempSync(join(tmpdir(), 'flava-splits-'))
afterAll(() => rmSync(folder, { recursive: true }))

describe('readConceptRows', () => {
  test('leaves out skin tones, flags and extras', () => {
    const [row] = makeRows()
    const rows = [row, { ...row, skin: true }, { ...row, kind: 'countryflag' }, { ...row, kind: 'extra' }]
    writeFileSync(join(folder, 'pairs.jsonl'), rows.map((item) => `${JSON.stringify(item)}\n`).join(''))
    expect(readConceptRows(folder)).toEqual([row])
  })

  test('names the command that makes missing data', () => {
    expect(() => readConceptRows(join(folder, 'nowhere'))).toThrow(DataMissingError)
    expect(() => readConceptRows(join(folder, 'nowhere'))).toThrow('npm run data')
  })
})

describe('buildSplit', () => {
  test('asks and offers what each split says', () => {
    const expected: Record<SplitName, [names: number, galleries: number, pictures: number, queries: number]> = {
      A: [2, 1, 2, 2],
      B: [2, 2, 4, 4],
      B1652: [5, 2, 10, 4],
      C: [2, 1, 2, 2],
      dev: [2, 1, 2, 2],
    }
    for (const name of ['A', 'B', 'B1652', 'C', 'dev'] as const) {
      const { names, galleries } = buildSplit(name, makeRows())
      const pictures = galleries.flatMap((gallery) => gallery.pictures)
      const queries = galleries.flatMap((gallery) => gallery.queries)
      expect([name, names.size, galleries.length, pictures.length, queries.length]).toEqual([name, ...expected[name]])
    }
    expect(buildSplit('C', makeRows()).galleries[0]?.queries.map(({ image }) => image)).toEqual([
      'openmoji/hat.png',
      'openmoji/bus.png',
    ])
  })

  test('refuses two concepts of one name and a split without pictures', () => {
    const twice = makeRows().map((row) => (row.name === 'dog' ? { ...row, name: 'Cat' } : row))
    expect(() => buildSplit('A', twice)).toThrow(EvaluationDataError)
    expect(() => buildSplit('A', [])).toThrow(EvaluationDataError)
  })
})

describe('rankSplit', () => {
  const split = buildSplit('B1652', makeRows())
  const request = requestFor([split], 'images')

  /** One axis per concept, so that a picture and its name meet and nothing else does. */
  function axisOf(item: string): Float32Array {
    const concepts = Object.keys(CONCEPTS)
    const axis = concepts.findIndex((concept) => item.includes(concept))
    return Float32Array.from(concepts, (_, index) => (index === axis ? 1 : 0))
  }

  test('requests every name and picture once', () => {
    expect(request.texts.toSorted()).toEqual(Object.keys(CONCEPTS).toSorted())
    expect(new Set(request.images).size).toBe(request.images.length)
    expect(request.images).toHaveLength(10)
    expect(request.images[0]).toBe('images/noto/cat.png')
  })

  test("finds each picture by its name and each name by its picture, within the picture's own style", () => {
    const vectors = tabulate([split], { texts: request.texts.map(axisOf), images: request.images.map(axisOf) })
    for (const direction of ['i2t', 't2i'] as const) {
      const ranked = rankSplit(split, vectors, direction)
      expect(recallsOf(ranked)).toEqual({ r1: 100, r5: 100, r10: 100, n: 4 })
      expect(ranked.map(({ gallerySize }) => gallerySize)).toEqual([5, 5, 5, 5])
    }
  })

  test('a picture that looks like another concept lowers the recall of both directions', () => {
    const confuse = (path: string): string => path.replace('noto/hat', 'noto/bus')
    const images = request.images.map((path) => axisOf(confuse(path)))
    const vectors = tabulate([split], { texts: request.texts.map(axisOf), images })
    expect(recallsOf(rankSplit(split, vectors, 'i2t')).r1).toBe(75)
    // In noto both the hat and the bus picture answer "bus", and no picture answers "hat".
    expect(recallsOf(rankSplit(split, vectors, 't2i')).r1).toBe(50)
  })

  test('refuses an engine that answers with another number of vectors', () => {
    expect(() => tabulate([split], { texts: [], images: [] })).toThrow(EngineFailedError)
  })
})

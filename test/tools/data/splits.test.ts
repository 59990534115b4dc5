// The proof that nothing held out reaches training: it accepts a clean set and names each kind of leak.

import { describe, expect, test } from 'vitest'

import { SplitLeakError } from '../../../tools/data/errors.ts'
import { assertNoLeak, isTrainingRow, roleOfStyle, type SplitRow } from '../../../tools/data/splits.ts'

function row(style: string, key: string, family: string, split: SplitRow['concept_split']): SplitRow {
  return { image: `${style}/${key}.png`, style, style_role: roleOfStyle(style), family, concept_split: split }
}

const CLEAN: SplitRow[] = [
  row('noto', '1F600', 'A', 'train'),
  row('openmoji', '1F600', 'A', 'train'),
  row('fxemoji', '1F600', 'A', 'train'),
  row('noto', '1F981', 'B', 'dev'),
  row('openmoji', '1F98A', 'C', 'test'),
  row('noto', '1F1E9-1F1EA', 'D', 'flag'),
]

describe('assertNoLeak', () => {
  test('accepts a set whose held-out families and styles stay out of training', () => {
    expect(() => assertNoLeak(CLEAN)).not.toThrow()
    expect(CLEAN.filter(isTrainingRow).map(({ image }) => image)).toEqual(['noto/1F600.png', 'noto/1F1E9-1F1EA.png'])
  })

  test.each(['dev', 'test'] as const)('refuses a %s family that is in training too', (split) => {
    expect(() => assertNoLeak([...CLEAN, row('twemoji', '1F601', 'A', split)])).toThrow(SplitLeakError)
  })

  test.each(['dev', 'test'] as const)('refuses a %s family that is in training as a flag', (split) => {
    expect(() => assertNoLeak([...CLEAN, row('twemoji', '1F3F4', 'D', split)])).toThrow(SplitLeakError)
  })

  test.each(['openmoji', 'fxemoji'])('refuses a picture of %s with the role of a training style', (style) => {
    const leak: SplitRow = { ...row(style, '1F602', 'E', 'train'), style_role: 'train-style' }
    expect(() => assertNoLeak([...CLEAN, leak])).toThrow(SplitLeakError)
  })

  test('refuses a picture of the held-out style under the name of a training style', () => {
    const leak: SplitRow = { ...row('noto', '1F602', 'E', 'train'), image: 'openmoji/1F602.png' }
    expect(() => assertNoLeak([...CLEAN, leak])).toThrow(/openmoji\/1F602\.png: expected a picture of style noto/)
  })

  test('refuses a second row of the same picture', () => {
    expect(() => assertNoLeak([...CLEAN, row('noto', '1F600', 'A', 'train')])).toThrow(/one row per picture/)
  })
})

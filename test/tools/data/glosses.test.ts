// WordNet's line format.

import { expect, test } from 'vitest'

import { ArchiveError } from '../../../tools/data/errors.ts'
import { parseSynsets } from '../../../tools/data/glosses.ts'

const NOUN = `  1 This software and database is being provided to you, the LICENSEE, by
00002137 03 n 02 abstraction 0 abstract_entity 0 002 @ 00001740 n 0000 + 00694095 v 0101 | a general concept; "an | b"  `
const ADJECTIVE = '00013887 00 s 02 galore(ip) 0 abounding 0 001 & 00013662 a 0000 | existing in abundance  '

test('parseSynsets skips the licence and keeps first lemma, gloss and lexicographer file', () => {
  expect(parseSynsets(`${NOUN}\n`, 'noun')).toEqual([
    { lemma: 'abstraction', pos: 'noun', gloss: 'a general concept; "an | b"', lexfile: 'noun.Tops' },
  ])
})

test('parseSynsets drops the position marker of an adjective', () => {
  expect(parseSynsets(ADJECTIVE, 'adj')[0]).toMatchObject({ lemma: 'galore', lexfile: 'adj.all' })
})

test('parseSynsets refuses a line that is no synset', () => {
  expect(() => parseSynsets('00013887 99 n 01 entity 0 000 | too high a file number', 'noun')).toThrow(ArchiveError)
})

// Which clip art may be trained on, and the words that are kept of what it says of itself.

import { describe, expect, test } from 'vitest'

import { clipArtCaptions, parseClipArt } from '../../../tools/data/clip-art.ts'
import { heldOutNames } from '../../../tools/data/held-out-names.ts'
import { selectClipArt } from '../../../tools/data/openclipart.ts'
import type { PairRow } from '../../../tools/data/rows.ts'

const PUBLIC_DOMAIN = 'http://web.resource.org/cc/PublicDomain'

function svg(title: string, keywords: string[], options: { license?: string; description?: string } = {}): string {
  const list = keywords.map((keyword) => `<rdf:li>${keyword}</rdf:li>`).join('\n')
  return `<svg><metadata><rdf:RDF><cc:Work rdf:about=""><dc:title>${title}</dc:title>
    <dc:description>${options.description ?? ''}</dc:description><dc:subject><rdf:Bag>${list}</rdf:Bag></dc:subject>
    <dc:creator><cc:Agent><dc:title>Ann Example</dc:title></cc:Agent></dc:creator>
    <cc:license rdf:resource="${options.license ?? PUBLIC_DOMAIN}"/></cc:Work></rdf:RDF></metadata><path/></svg>`
}

function heldOut(name: string, split: PairRow['concept_split']): PairRow {
  return {
    image: `noto/${name}.png`,
    style: 'noto',
    style_role: 'train-style',
    key: name,
    family: name,
    concept_split: split,
    name,
    group: '',
    subgroup: '',
    skin: false,
    kind: 'concept',
    captions: { en: [name, 'animal'] },
  }
}

const NAMES = heldOutNames([heldOut('lion', 'test'), heldOut('shopping cart', 'dev'), heldOut('dog', 'train')])

describe('selectClipArt', () => {
  const select = (path: string, source: string) => selectClipArt(new Map([[path, source]]), NAMES)

  test('makes a training row of a public-domain drawing', () => {
    const { rows } = select('animals/birds/heron_01', svg('Grey &amp; tall heron', ['bird', 'animal_life', '']))
    expect(rows).toEqual([
      {
        image: 'openclipart/animals-birds-heron_01.png',
        style: 'openclipart',
        style_role: 'train-style',
        key: 'animals-birds-heron_01',
        family: 'Canimals-birds-heron_01',
        concept_split: 'train',
        name: 'grey tall heron',
        group: 'animals',
        subgroup: 'birds',
        skin: false,
        kind: 'clipart',
        captions: { en: ['grey tall heron', 'bird', 'animal life'] },
      },
    ])
  })

  test.each([
    ['title', 'a/x', svg('Two lions', [])],
    ['keywords', 'a/x', svg('Trolley', ['shopping_cart'])],
    ['path', 'lions/trolley', svg('Trolley', [])],
    ['description', 'a/x', svg('Trolley', [], { description: 'A lion on wheels' })],
  ])('leaves out what names a held-out concept in its %s', (_where, path, source) => {
    expect(select(path, source)).toMatchObject({ rows: [], leftOut: { names_held_out: 1 } })
  })

  test('keeps what names a training concept, or a held-out one only inside another word', () => {
    expect(select('a/x', svg('Dog and dandelion', [])).rows).toHaveLength(1)
  })

  test.each(['', 'http://creativecommons.org/licenses/GPL/2.0/'])('leaves out the licence %j', (license) => {
    expect(select('a/x', svg('Heron', [], { license })).leftOut).toMatchObject({ not_public_domain: 1 })
  })

  test('leaves out stars drawn by a script, and drawings without words', () => {
    expect(select('shapes/stars/star_43pt09step', svg('gramastar', [])).leftOut).toMatchObject({ generated: 1 })
    expect(select('a/01', svg('', ['hash'])).leftOut).toMatchObject({ no_words: 1 })
  })
})

describe('clipArtCaptions', () => {
  test('takes the file name, without the artist, for a title that many files share', () => {
    const paths = ['a/red_heron_ann_exam_01', 'a/b', 'a/c', 'a/d']
    const all = paths.map((path) => parseClipArt(path, svg('Birds of 2004', ['bird'])))
    expect(clipArtCaptions(all).get('a/red_heron_ann_exam_01')).toEqual(['red heron', 'bird'])
  })

  test('keeps a description that is a sentence, and no addresses', () => {
    const captionsOf = (description: string) => {
      const art = parseClipArt('a/x', svg('Heron', ['ann@example.org'], { description }))
      return clipArtCaptions([art]).get('a/x')
    }
    expect(captionsOf('A heron in a pond.')).toEqual(['heron', 'A heron in a pond.'])
    expect(captionsOf('Mail to ann@example.org')).toEqual(['heron'])
  })
})

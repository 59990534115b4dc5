// Captions and names: which source comes first, what counts as new, and how keys and icon names are written.

import { describe, expect, test } from 'vitest'

import { appendNew, captionsOf, readCldrPhrases, readEmojilibPhrases } from '../../../tools/data/captions.ts'
import type { Concept } from '../../../tools/data/concepts.ts'
import { keyOfHex, keyOfText } from '../../../tools/data/emoji-key.ts'
import { iconNameOf } from '../../../tools/data/iconify.ts'
import type { PackageFiles } from '../../../tools/data/package-files.ts'

function packageOf(path: string, content: unknown): PackageFiles {
  return { name: 'a package', files: new Map([[path, new TextEncoder().encode(JSON.stringify(content))]]) }
}

const WAVE: Concept = {
  name: 'waving hand',
  group: 'people-body',
  subgroup: 'hand-fingers-open',
  skin: false,
  kind: 'concept',
  base: '1F44B',
  tags: ['hello', 'Wave', 'body'],
}
const FULL = packageOf('annotations/en/annotations.json', {
  annotations: { annotations: { '👋': { default: ['hand', 'wave', 'waving hand'], tts: ['waving hand'] } } },
})
const DERIVED = packageOf('annotationsDerived/en/annotations.json', {
  annotationsDerived: { annotations: { '👋🏻': { default: ['hand', 'wave'], tts: ['waving hand: light skin tone'] } } },
})
const EMOJILIB = packageOf('dist/emoji-en-US.json', { '👋': ['waving_hand', 'hand', 'goodbye', 'long_time_no_see'] })

describe('captionsOf', () => {
  const cldr = readCldrPhrases(FULL, DERIVED)
  const emojilib = readEmojilibPhrases(EMOJILIB)

  test('puts the CLDR name first, then its keywords, then what emojibase and emojilib add', () => {
    const expected = ['waving hand', 'hand', 'wave', 'hello', 'body', 'goodbye', 'long time no see']
    expect(captionsOf('1F44B', WAVE, cldr, emojilib)).toEqual(expected)
  })

  test('gives a skin tone its own CLDR name and the emojilib words of its base', () => {
    const tone: Concept = { ...WAVE, name: 'waving hand: light skin tone', skin: true, tags: [] }
    const expected = ['waving hand: light skin tone', 'hand', 'wave', 'waving hand', 'goodbye', 'long time no see']
    expect(captionsOf('1F44B-1F3FB', tone, cldr, emojilib)).toEqual(expected)
  })

  test('falls back on the name where no source knows the emoji', () => {
    expect(captionsOf('1FAE9', { ...WAVE, base: '1FAE9', tags: [] }, cldr, emojilib)).toEqual(['waving hand'])
  })
})

describe('appendNew', () => {
  test('adds each phrase once whatever its case and outer blanks, and leaves the first list as it is', () => {
    expect(appendNew(['Leo', 'leo'], ['LEO', ' lion ', 'lion', ''])).toEqual(['Leo', 'leo', 'lion'])
  })
})

describe('keys and icon names', () => {
  test.each(['1f44b-1f3fb', '1F44B_1F3FB', '1F44B FE0F 1F3FB', '1f44b-1f3fb-fe0f'])(
    'keyOfHex writes %s in one way',
    (hex) => {
      expect(keyOfHex(hex)).toBe('1F44B-1F3FB')
    },
  )

  test('keyOfHex and keyOfText agree, with code points of at least four digits and no FE0F', () => {
    expect(keyOfHex('23-fe0f-20e3')).toBe('0023-20E3')
    expect(keyOfText('#️⃣')).toBe('0023-20E3')
  })

  test.each([
    ['woman’s hat', 'womans-hat'],
    ['flag: Åland Islands', 'flag-aland-islands'],
    ['piñata', 'pinata'],
    ['keycap: *', 'keycap-*'],
    ['Japanese “here” button', 'japanese-here-button'],
  ])('iconNameOf(%s) is %s', (label, name) => {
    expect(iconNameOf(label)).toBe(name)
  })
})

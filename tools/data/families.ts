// Which emoji belong together so closely that one in training would give away another in the test: variants by
// gender, direction and skin, a ZWJ sequence and its parts, couples, clocks, keycaps, and nearly equal pictures.
// A family is split as a whole. Knows keys only, no pictures.

import { SKIN_TONES } from './emoji-key.ts'

/** Families so large or so alike inside that they stay in training whole. */
export const TRAIN_ONLY_FAMILIES: ReadonlySet<string> = new Set(['PEOPLE-GROUP', 'CLOCK-FACE', 'KEYCAP'])

const MAN = '1F468'
const WOMAN = '1F469'
const PERSON = '1F9D1'
const ZERO_WIDTH_JOINER = '200D'
const PEOPLE = new Set([PERSON, MAN, WOMAN, '1F9D2', '1F466', '1F467'])
const SEVERAL_PEOPLE = new Set(['1F46A', '1F46B', '1F46C', '1F46D', '1F48F', '1F491', '1F46F'])
// Parts of a ZWJ sequence that are on so many pictures that joining by them would make one giant family:
// people, joiners, gender and direction signs, skin tones.
const PEOPLE_PARTS = new Set([
  ...PEOPLE,
  '1F474',
  '1F475',
  '1F9D3',
  ZERO_WIDTH_JOINER,
  '2640',
  '2642',
  '27A1',
  ...SKIN_TONES,
])
// Black, fire, collision, dizzy, dash, green and brown: they only colour the other part.
const EFFECT_PARTS = new Set(['2B1B', '1F525', '1F4A5', '1F4AB', '1F4A8', '1F7E9', '1F7EB'])

/** Same thing, other code point: wheelchairs, speech bubbles, Santas, royalty, gendered people. */
const SAME_THING: readonly (readonly [string, string])[] = [
  ['1F9BC', '1F9BD'],
  ['1F5E8', '1F4AC'],
  ['1F936', '1F385'],
  ['1F934', '1FAC5'],
  ['1F478', '1FAC5'],
  [MAN, PERSON],
  [WOMAN, PERSON],
  ['1F474', '1F9D3'],
  ['1F475', '1F9D3'],
  ['1F466', '1F9D2'],
  ['1F467', '1F9D2'],
]

export interface Families {
  /** Family id of any emoji key, also of one that was not in the list (skin-tone variants, flags). */
  readonly of: (key: string) => string
}

/**
 * Families over the given keys by union-find.
 * @param keys emoji keys that are concepts (no country flags); their order decides which key names a family
 * @param nearDuplicates pairs of keys with nearly equal pictures (frozen list)
 */
export function buildFamilies(
  keys: readonly string[],
  nearDuplicates: readonly (readonly [string, string])[],
): Families {
  const parents = new Map<string, string>()
  const known = new Set(keys)
  for (const key of keys) {
    const stem = stemOf(key)
    if (!key.includes(ZERO_WIDTH_JOINER) || stem === 'PEOPLE-GROUP') continue
    for (const part of key.split('-')) {
      if (known.has(part) && !PEOPLE_PARTS.has(part) && !EFFECT_PARTS.has(part)) join(parents, stem, stemOf(part))
    }
  }
  for (const [a, b] of [...SAME_THING, ...nearDuplicates]) join(parents, stemOf(a), stemOf(b))
  return { of: (key) => find(parents, stemOf(key)) }
}

/** What a key has in common with its variants by skin, gender and direction; or the name of a group that is one family. */
function stemOf(key: string): string {
  const parts = key.split('-').filter((part) => !SKIN_TONES.has(part))
  const plain = parts.join('-')
  if (isSeveralPeople(plain, parts)) return 'PEOPLE-GROUP'
  if (/^1F5(5[0-9A-F]|6[0-7])$/.test(plain)) return 'CLOCK-FACE'
  if (plain.endsWith('-20E3')) return 'KEYCAP'
  return plain.replace(/-200D-(2640|2642|27A1)/g, '').replace(/\b(1F468|1F469)\b/g, PERSON)
}

function isSeveralPeople(plain: string, parts: readonly string[]): boolean {
  const people = parts.filter((part) => PEOPLE.has(part)).length
  return people >= 2 || SEVERAL_PEOPLE.has(plain) || plain.includes('1F91D-200D') || plain.includes('2764-200D-1F')
}

function join(parents: Map<string, string>, a: string, b: string): void {
  const root = find(parents, a)
  const other = find(parents, b)
  if (root !== other) parents.set(root, other)
}

function find(parents: ReadonlyMap<string, string>, stem: string): string {
  let root = stem
  for (let parent = parents.get(root); parent !== undefined; parent = parents.get(root)) root = parent
  return root
}

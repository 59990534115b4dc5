// Icon sets: what each package says of its icons, and which of them may be trained on.

import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'

import { ArchiveError, RenderError } from '../../../tools/data/errors.ts'
import { heldOutNames, heldOutSynonyms } from '../../../tools/data/held-out-names.ts'
import { ICON_SETS, type Icon } from '../../../tools/data/icon-sets.ts'
import { prepareIcons, selectIcons } from '../../../tools/data/icons.ts'
import type { PackageFiles } from '../../../tools/data/package-files.ts'
import { readPackagePins } from '../../../tools/data/pins.ts'
import type { PairRow } from '../../../tools/data/rows.ts'

const DRAWN =
  '<svg xmlns="http://www.w3.org/2000/svg" width="24" height="24" viewBox="0 0 24 24"><path d="M4 4h9v9z"/></svg>'
const EMPTY = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 24 24"><path d="M4 4h9v9z" fill="none"/></svg>'

function packageOf(name: string, files: Record<string, unknown>): PackageFiles {
  const encode = (content: unknown) =>
    new TextEncoder().encode(typeof content === 'string' ? content : JSON.stringify(content))
  return { name, files: new Map(Object.entries(files).map(([path, content]) => [path, encode(content)])) }
}

const LUCIDE = packageOf('lucide-static', {
  'tags.json': { dog: ['Pet', 'dog', '*new*'], 'no-creative-commons': [], 'dog-2': [] },
  'icons/dog.svg': DRAWN,
  'icons/dog-2.svg': DRAWN,
  'icons/no-creative-commons.svg': DRAWN,
})
const TABLER = packageOf('@tabler/icons', {
  'icons.json': {
    'number-2': { name: 'number-2', category: 'Numbers', tags: ['two', 2, null], styles: { outline: {} } },
    number: { name: 'number', category: 'Numbers', tags: [], styles: { outline: {} } },
    'brand-x': { name: 'brand-x', category: 'Brand', tags: [], styles: { outline: {} } },
    solid: { name: 'solid', category: 'Shapes', tags: [], styles: { filled: {} } },
  },
  'icons/outline/number-2.svg': DRAWN,
  'icons/outline/number.svg': EMPTY,
  'icons/outline/brand-x.svg': DRAWN,
})
const MDI = packageOf('@mdi/svg', {
  'meta.json': [
    { name: 'cat-outline', aliases: ['emoji-cat'], tags: ['Animal', 'Food / Drink'], deprecated: false },
    { name: 'github', aliases: [], tags: ['Brand / Logo'], deprecated: false },
    { name: 'old', aliases: [], tags: [], deprecated: true },
  ],
  'svg/cat-outline.svg': DRAWN,
  'svg/github.svg': DRAWN,
  'svg/old.svg': DRAWN,
})
const PHOSPHOR_DECLARATIONS = `export declare const icons: readonly [{
    readonly name: "asclepius";
    readonly pascal_name: "Asclepius";
    readonly alias: {
        readonly name: "snake-staff";
        readonly pascal_name: "SnakeStaff";
    };
    readonly categories: readonly [IconCategory.HEALTH];
    readonly figma_category: FigmaCategory.HEALTH;
    readonly tags: readonly ["*new*", "doctor"];
}, {
    readonly name: "some-logo";
    readonly pascal_name: "SomeLogo";
    readonly categories: readonly [IconCategory.BRAND, IconCategory.HEALTH];
    readonly figma_category: FigmaCategory.BRAND;
    readonly tags: readonly [];
}];`
const PHOSPHOR_FILES = {
  'dist/icons.d.ts': PHOSPHOR_DECLARATIONS,
  'assets/regular/asclepius.svg': DRAWN,
  'assets/regular/some-logo.svg': DRAWN,
  'assets/duotone/asclepius-duotone.svg': DRAWN,
  'assets/duotone/some-logo-duotone.svg': DRAWN,
}
const PHOSPHOR = packageOf('@phosphor-icons/core', PHOSPHOR_FILES)

function read(from: PackageFiles): Icon[] {
  return ICON_SETS.find((set) => set.package === from.name)?.read(from) ?? []
}

function summary(icons: readonly Icon[]): (string | string[] | boolean)[][] {
  return icons.map(({ set, id, name, tags, isBrand }) => [set, id, name, tags, isBrand])
}

describe('ICON_SETS', () => {
  test('reads Lucide: a numbered drawing is called as the plain one', () => {
    expect(summary(read(LUCIDE))).toEqual([
      ['lucide', 'dog', 'dog', ['pet'], false],
      ['lucide', 'no-creative-commons', 'no creative commons', [], true],
      ['lucide', 'dog-2', 'dog', [], false],
    ])
  })

  test('reads Tabler: outline icons, brands marked, numbers kept where they are the picture', () => {
    expect(summary(read(TABLER))).toEqual([
      ['tabler', 'number-2', 'number 2', ['two', '2'], false],
      ['tabler', 'number', 'number', [], false],
      ['tabler', 'brand-x', 'brand x', [], true],
    ])
  })

  test('reads Material Design Icons: aliases and headings are words, outline is none', () => {
    expect(summary(read(MDI))).toEqual([
      ['mdi', 'cat-outline', 'cat', ['emoji cat', 'animal', 'food', 'drink'], false],
      ['mdi', 'github', 'github', ['brand', 'logo'], true],
      ['mdi', 'old', 'old', [], true],
    ])
  })

  test('reads Phosphor: two weights of each icon, its alias as a word', () => {
    expect(summary(read(PHOSPHOR))).toEqual([
      ['phosphor', 'asclepius', 'asclepius', ['snake staff', 'doctor'], false],
      ['phosphor', 'some-logo', 'some logo', [], true],
      ['phosphor-duotone', 'asclepius', 'asclepius', ['snake staff', 'doctor'], false],
      ['phosphor-duotone', 'some-logo', 'some logo', [], true],
    ])
  })

  test.each([
    ['a file that is missing', packageOf('lucide-static', { 'tags.json': { dog: [] } }), /icons\/dog\.svg/],
    ['a catalogue that is missing', packageOf('@mdi/svg', {}), /meta\.json/],
    ['a catalogue of another shape', packageOf('@mdi/svg', { 'meta.json': { cat: 1 } }), /meta\.json/],
    ['a catalogue cut short', packageOf('@tabler/icons', { 'icons.json': '{"cat": {' }), /icons\.json/],
    [
      'declarations of another shape',
      packageOf('@phosphor-icons/core', { 'dist/icons.d.ts': PHOSPHOR_DECLARATIONS.replace('pascal_name', 'other') }),
      /expected 2 icons in dist\/icons\.d\.ts, could read 1/,
    ],
    [
      'an id that occurs twice',
      packageOf('@mdi/svg', {
        'meta.json': ['cat', 'cat'].map((name) => ({ name, aliases: [], tags: [], deprecated: false })),
        'svg/cat.svg': DRAWN,
      }),
      /@mdi\/svg: expected each icon once, got cat again/,
    ],
  ])('refuses %s, naming it', (_what, from, message) => {
    expect(() => read(from)).toThrow(ArchiveError)
    expect(() => read(from)).toThrow(message)
  })
})

function concept(name: string, captions: string[], split: PairRow['concept_split'], skin = false): PairRow {
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
    skin,
    kind: 'concept',
    captions: { en: [name, ...captions] },
  }
}

const CONCEPTS = [
  concept('lion', ['animal', 'mane'], 'test'),
  concept('shopping cart', ['trolley', 'shop'], 'dev'),
  concept('dog', ['animal', 'pet'], 'train'),
]

function icon(id: string, tags: string[] = [], changes: Partial<Icon> = {}): Icon {
  return { set: 'mdi', id, name: id.replaceAll('-', ' '), tags, isBrand: false, svg: new Uint8Array(), ...changes }
}

describe('selectIcons', () => {
  const select = (one: Icon) => {
    const { icons, leftOut } = selectIcons([one], heldOutNames(CONCEPTS), heldOutSynonyms(CONCEPTS))
    const reasons = Object.entries(leftOut.get(one.set) ?? {}).filter(([, count]) => count > 0)
    return icons.length > 0 ? 'kept' : reasons[0]?.[0]
  }

  test.each([
    ['is a brand', icon('dog', [], { isBrand: true }), 'brand'],
    ['is a held-out concept', icon('lion'), 'names_held_out'],
    ['has a held-out name as one word of its own', icon('sea-lion-off'), 'names_held_out'],
    ['has a held-out name in a tag', icon('cat', ['like a lion']), 'names_held_out'],
    ['has a held-out name in its file only', icon('lion-2', [], { name: 'cat' }), 'names_held_out'],
    ['has a held-out name of two words', icon('shopping-cart-plus'), 'names_held_out'],
    ['is called as only held-out concepts are', icon('trolley'), 'synonym_of_held_out'],
  ])('leaves out what %s', (_what, one, reason) => {
    expect(select(one)).toBe(reason)
  })

  test('keeps what shares a word with a training concept, or holds a name inside a word', () => {
    expect([icon('animal'), icon('dandelion'), icon('dog', ['trolley'])].map(select)).toEqual(['kept', 'kept', 'kept'])
  })
})

describe('prepareIcons', () => {
  const prepare = async (packages: readonly PackageFiles[]) => {
    const folder = await mkdtemp(join(tmpdir(), 'icons-'))
    try {
      const byName = new Map(packages.map((from) => [from.name, from]))
      const manifest = await prepareIcons(byName, readPackagePins(), CONCEPTS, folder)
      const lines = (await readFile(join(folder, 'icons.jsonl'), 'utf8')).trim().split('\n')
      return { manifest, rows: lines.map((line): unknown => JSON.parse(line)) }
    } finally {
      await rm(folder, { recursive: true })
    }
  }

  test('writes rows with captions and licence, and counts what it left out', async () => {
    const { manifest, rows } = await prepare([LUCIDE, TABLER, MDI, PHOSPHOR])
    expect(rows[0]).toEqual({
      image: 'lucide/dog.png',
      set: 'lucide',
      name: 'dog',
      captions: ['dog', 'pet'],
      license: 'ISC',
    })
    expect(manifest.rows).toBe(rows.length)
    expect(manifest.sets['tabler']).toEqual({
      rows: 1,
      left_out: { brand: 1, names_held_out: 0, synonym_of_held_out: 0, blank: 1 },
    })
    expect(manifest.sets['phosphor-duotone']?.rows).toBe(1)
  })

  test('names the icon that cannot be drawn and the package that is missing', async () => {
    const broken = packageOf('@phosphor-icons/core', { ...PHOSPHOR_FILES, 'assets/regular/asclepius.svg': '<svg' })
    await expect(prepare([LUCIDE, TABLER, MDI, broken])).rejects.toThrow(RenderError)
    await expect(prepare([LUCIDE, TABLER, MDI, broken])).rejects.toThrow(/phosphor\/asclepius\.png/)
    await expect(prepare([LUCIDE, TABLER, MDI])).rejects.toThrow(/@phosphor-icons\/core/)
  })
})

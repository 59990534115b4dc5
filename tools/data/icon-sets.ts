// Reads the icon sets: each package has its own way of saying which icons there are, what they show and which of them
// are brands. Nothing here knows what is held out.

import { z } from 'zod'

import { appendNew } from './captions.ts'
import { ArchiveError } from './errors.ts'
import { readJson, readText, type PackageFiles } from './package-files.ts'

/** One icon; a weight in which it is drawn is a set of its own. */
export interface Icon {
  set: IconSetName
  /** As its package spells it: `arrow-big-down-2`. */
  id: string
  /** Words of the name, without those that speak of the drawing: `arrow big down`. */
  name: string
  /** Other names and search words. */
  tags: string[]
  isBrand: boolean
  svg: Uint8Array
}

export type IconSetName = 'lucide' | 'tabler' | 'mdi' | 'phosphor' | 'phosphor-duotone'

interface IconSet {
  package: string
  read: (from: PackageFiles) => Icon[]
}

/** What a package says of an icon, before names are cleaned. */
interface Entry {
  id: string
  tags: readonly string[]
  isBrand: boolean
}

const lucideTagsSchema = z.record(z.string(), z.array(z.string()))
const tablerSchema = z.record(
  z.string(),
  z.object({
    name: z.string(),
    category: z.string(),
    // Some tags are bare numbers, and a few are null.
    tags: z.array(z.union([z.string(), z.number(), z.null()])),
    styles: z.record(z.string(), z.unknown()),
  }),
)
const mdiSchema = z.array(
  z.object({ name: z.string(), aliases: z.array(z.string()), tags: z.array(z.string()), deprecated: z.boolean() }),
)

// Phosphor's catalogue is a module; its declarations are the same lists as plain literals.
const PHOSPHOR_ICON = new RegExp(
  [
    /readonly name: ("[^"]*");\s*readonly pascal_name: "[^"]*";\s*/,
    /(?:readonly alias: \{\s*readonly name: "([^"]*)";[^}]*\};\s*)?/,
    /readonly categories: readonly \[([^\]]*)\];[^{}]*?readonly tags: readonly (\[[^\]]*\]);/,
  ]
    .map(({ source }) => source)
    .join(''),
  'g',
)
const phosphorTagsSchema = z.array(z.string())

/** The sets in row order. */
export const ICON_SETS: readonly IconSet[] = [
  { package: 'lucide-static', read: readLucide },
  { package: '@tabler/icons', read: readTabler },
  { package: '@mdi/svg', read: readMaterialDesign },
  { package: '@phosphor-icons/core', read: readPhosphor },
]

// Names of companies and products that the packages do not mark as brands.
const BRAND_NAME = new RegExp(
  '(^|-)(brand|creative-commons|excel|google|logo|microsoft|nintendo|ny-times|powerpoint|powershell|quora|tesla|vue|xbox)(-|$)',
)
/** Sets that number their icons where the number is the picture. */
const COUNTED = new Set(['number', 'numeric'])
/** Search words about the catalogue. */
const NOISE = /^\*.*\*$/

function readLucide(from: PackageFiles): Icon[] {
  const entries = Object.entries(readJson(from, 'tags.json', lucideTagsSchema))
  const icons = entries.map(([id, tags]) => ({ id, tags, isBrand: false }))
  return toIcons(from, 'lucide', icons, (id) => `icons/${id}.svg`)
}

function readTabler(from: PackageFiles): Icon[] {
  const outline = Object.values(readJson(from, 'icons.json', tablerSchema)).filter(({ styles }) => 'outline' in styles)
  const icons = outline.map(({ name, category, tags }) => ({
    id: name,
    tags: tags.filter((tag) => tag !== null).map(String),
    isBrand: category === 'Brand',
  }))
  return toIcons(from, 'tabler', icons, (id) => `icons/outline/${id}.svg`)
}

function readMaterialDesign(from: PackageFiles): Icon[] {
  const icons = readJson(from, 'meta.json', mdiSchema).map(({ name, aliases, tags, deprecated }) => ({
    id: name,
    // Its tags are headings: `Account / User`.
    tags: [...aliases.map(toWords), ...tags.flatMap((tag) => tag.split(/ [/+] /))],
    // Only brands are deprecated there.
    isBrand: deprecated || tags.includes('Brand / Logo'),
  }))
  return toIcons(from, 'mdi', icons, (id) => `svg/${id}.svg`)
}

function readPhosphor(from: PackageFiles): Icon[] {
  const declarations = readText(from, 'dist/icons.d.ts')
  const icons = Array.from(
    declarations.matchAll(PHOSPHOR_ICON),
    ([, name = '', alias, categories = '', tags = '']): Entry => ({
      id: parseLiteral(from, name, z.string()),
      tags: [...(alias === undefined ? [] : [toWords(alias)]), ...parseLiteral(from, tags, phosphorTagsSchema)],
      isBrand: categories.includes('IconCategory.BRAND'),
    }),
  )
  // Each icon has one, and nothing else has.
  const declared = declarations.split('readonly figma_category: ').length - 1
  if (icons.length === 0 || icons.length !== declared) {
    throw new ArchiveError(`${from.name}: expected ${declared} icons in dist/icons.d.ts, could read ${icons.length}`)
  }
  return [
    ...toIcons(from, 'phosphor', icons, (id) => `assets/regular/${id}.svg`),
    ...toIcons(from, 'phosphor-duotone', icons, (id) => `assets/duotone/${id}-duotone.svg`),
  ]
}

/** @throws ArchiveError for an icon without a file, or an id that occurs twice */
function toIcons(
  from: PackageFiles,
  set: IconSetName,
  entries: readonly Entry[],
  pathOf: (id: string) => string,
): Icon[] {
  const ids = new Set<string>()
  for (const { id } of entries) {
    if (ids.has(id)) throw new ArchiveError(`${from.name}: expected each icon once, got ${id} again`)
    ids.add(id)
  }
  return entries.map(({ id, tags, isBrand }) => {
    const svg = from.files.get(pathOf(id))
    if (svg === undefined) throw new ArchiveError(`${from.name}: expected a file ${pathOf(id)} for its icon ${id}`)
    const name = toWords(withoutVariant(id, ids))
    const words = tags.filter((tag) => !NOISE.test(tag)).map((tag) => tag.toLowerCase())
    return { set, id, name, tags: appendNew([name], words).slice(1), isBrand: isBrand || BRAND_NAME.test(id), svg }
  })
}

/** `cat-outline` and `home-2` are other drawings of a cat and a home. */
function withoutVariant(id: string, ids: ReadonlySet<string>): string {
  const shown = id.replace(/-(outline|variant|filled)\b/g, '')
  const numbered = /^(.+)-\d+$/.exec(shown)?.[1]
  return numbered !== undefined && ids.has(numbered) && !COUNTED.has(numbered) ? numbered : shown
}

function toWords(id: string): string {
  return id.replaceAll('-', ' ').trim()
}

function parseLiteral<T>(from: PackageFiles, literal: string, schema: z.ZodType<T>): T {
  try {
    return schema.parse(JSON.parse(literal))
  } catch (cause) {
    throw new ArchiveError(`${from.name}: dist/icons.d.ts: expected a literal, got ${literal.slice(0, 60)}`, { cause })
  }
}

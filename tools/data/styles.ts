// The drawing styles: which package draws which emoji. Returns sources (SVG or WebP bytes) by emoji key.

import { z } from 'zod'

import type { Concept } from './concepts.ts'
import { keyOfHex } from './emoji-key.ts'
import { iconNameOf, readIconSet } from './iconify.ts'
import { readJson, type PackageFiles } from './package-files.ts'

/** Key → bytes of an SVG or WebP file. */
export type Pictures = ReadonlyMap<string, Uint8Array>

/** A picture that only OpenMoji has: no emoji, so it is in no concept split. */
export interface ExtraPicture {
  key: string
  name: string
  subgroup: string
  tags: string[]
}

// The order is also the order in which icon names are learnt from the sets, and of the rows.
const ICONIFY_SETS = [
  ['noto', '@iconify-json/noto'],
  ['twemoji', '@iconify-json/twemoji'],
  ['fluent-flat', '@iconify-json/fluent-emoji-flat'],
  ['noto-v1', '@iconify-json/noto-v1'],
  ['emojitwo', '@iconify-json/emojione'],
  ['fxemoji', '@iconify-json/fxemoji'],
] as const

const openmojiSchema = z.array(
  z.object({
    hexcode: z.string(),
    annotation: z.string(),
    group: z.string(),
    subgroups: z.string(),
    openmoji_tags: z.string(),
  }),
)

/**
 * All styles, in row order.
 * @param open opens a pinned package by name
 * @param unicodeNames compressed Unicode names → key, for FxEmojis' icons
 */
export function readStyles(
  open: (name: string) => PackageFiles,
  concepts: ReadonlyMap<string, Concept>,
  unicodeNames: ReadonlyMap<string, string>,
): Map<string, Pictures> {
  const names = new Map<string, string>()
  for (const [key, concept] of concepts) names.set(iconNameOf(concept.name), key)
  const styles = new Map<string, Pictures>()
  for (const [style, packageName] of ICONIFY_SETS) {
    const icons = readIconSet(open(packageName), names, style === 'fxemoji' ? unicodeNames : undefined)
    styles.set(style, new Map(Array.from(icons, ([key, svg]) => [key, new TextEncoder().encode(svg)])))
  }
  styles.set('openmoji', readFolder(open('openmoji'), 'color/svg/', '.svg'))
  // Only what Microsoft's own MIT set also has: the package holds flags and families of unknown origin too.
  const flat = styles.get('fluent-flat') ?? new Map()
  const all3d = readFolder(open('@lobehub/fluent-emoji-3d'), 'assets/', '.webp')
  styles.set('fluent-3d', new Map([...all3d].filter(([key]) => flat.has(key))))
  return styles
}

/** OpenMoji's own symbols that are no emoji. */
export function readExtras(openmoji: PackageFiles, pictures: Pictures): ExtraPicture[] {
  return readJson(openmoji, 'data/openmoji.json', openmojiSchema)
    .filter(({ group, hexcode }) => group === 'extras-openmoji' && pictures.has(keyOfHex(hexcode)))
    .map(({ hexcode, annotation, subgroups, openmoji_tags: tags }) => ({
      key: keyOfHex(hexcode),
      name: annotation,
      subgroup: subgroups,
      tags: tags
        .split(',')
        .map((tag) => tag.trim())
        .filter((tag) => tag !== ''),
    }))
}

function readFolder(from: PackageFiles, folder: string, extension: string): Pictures {
  const pictures = new Map<string, Uint8Array>()
  for (const [path, content] of from.files) {
    if (path.startsWith(folder) && path.endsWith(extension)) {
      pictures.set(keyOfHex(path.slice(folder.length, -extension.length)), content)
    }
  }
  return pictures
}

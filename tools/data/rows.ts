// The rows of pairs.jsonl: one picture, its captions and where it may be used. Pure: packages in, rows out.

import { captionsOf, type Phrases } from './captions.ts'
import type { Concept } from './concepts.ts'
import type { Families } from './families.ts'
import { roleOfStyle, splitOfFamily, type ConceptSplit, type StyleRole } from './splits.ts'
import type { ExtraPicture, Pictures } from './styles.ts'

/** One line of pairs.jsonl; snake_case because Python reads it too. */
export interface PairRow {
  /** Path of the PNG below images/. */
  image: string
  style: string
  style_role: StyleRole
  /** Code points in hex joined by `-`, without FE0F. */
  key: string
  family: string
  concept_split: ConceptSplit | 'flag' | 'extra'
  name: string
  group: string
  subgroup: string
  /** Whether the picture shows a skin-tone variant. */
  skin: boolean
  kind: 'concept' | 'countryflag' | 'extra' | 'clipart'
  base?: string
  captions: { en: string[] }
}

export interface RowSources {
  concepts: ReadonlyMap<string, Concept>
  families: Families
  styles: ReadonlyMap<string, Pictures>
  extras: readonly ExtraPicture[]
  cldr: Phrases
  emojilib: Phrases
}

/** All rows: style by style in the order of `styles`, each in its package's order, OpenMoji's extras last. */
export function buildRows(sources: RowSources): PairRow[] {
  const rows: PairRow[] = []
  for (const [style, pictures] of sources.styles) {
    for (const key of pictures.keys()) {
      const concept = sources.concepts.get(key)
      if (concept !== undefined) rows.push(conceptRow(sources, style, key, concept))
    }
  }
  return [...rows, ...sources.extras.map(extraRow)]
}

function conceptRow(sources: RowSources, style: string, key: string, concept: Concept): PairRow {
  const { name, group, subgroup, skin, kind, base } = concept
  const family = sources.families.of(key)
  return {
    image: imagePath(style, key),
    style,
    style_role: roleOfStyle(style),
    key,
    family,
    concept_split: kind === 'concept' ? splitOfFamily(family) : 'flag',
    name,
    group,
    subgroup,
    skin,
    kind,
    base,
    captions: { en: captionsOf(key, concept, sources.cldr, sources.emojilib) },
  }
}

function extraRow({ key, name, subgroup, tags }: ExtraPicture): PairRow {
  return {
    image: imagePath('openmoji', key),
    style: 'openmoji',
    style_role: 'test-style',
    key,
    family: `X${key}`,
    concept_split: 'extra',
    name,
    group: 'extras-openmoji',
    subgroup,
    skin: false,
    kind: 'extra',
    captions: { en: [name, ...tags] },
  }
}

function imagePath(style: string, key: string): string {
  return `${style}/${key}.png`
}

// The emoji the data set speaks of: names, groups and skin-tone variants, from emojibase. Country flags are kept
// apart (`countryflag`), because every vendor draws the same flag and they would flatter any score.

import { z } from 'zod'

import { keyOfHex } from './emoji-key.ts'
import { readJson, type PackageFiles } from './package-files.ts'

export interface Concept {
  name: string
  group: string
  subgroup: string
  /** Whether this is a skin-tone variant of `base`. */
  skin: boolean
  kind: 'concept' | 'countryflag'
  /** Key of the emoji without skin tone; its own key when it has none. */
  base: string
  /** Search words of the base emoji in emojibase. */
  tags: readonly string[]
}

const variantSchema = z.object({ hexcode: z.string(), label: z.string() })
const emojiSchema = variantSchema.extend({
  group: z.int().optional(),
  subgroup: z.int().optional(),
  tags: z.array(z.string()).optional(),
  skins: z.array(variantSchema).optional(),
})
const messagesSchema = z.object({
  groups: z.array(z.object({ key: z.string(), order: z.int() })),
  subgroups: z.array(z.object({ key: z.string(), order: z.int() })),
})

/** All emoji sequences by key, in emojibase's order, skin tones after their base; without components and lone letters. */
export function readConcepts(emojibase: PackageFiles): Map<string, Concept> {
  const messages = readJson(emojibase, 'en/messages.json', messagesSchema)
  const groups = new Map(messages.groups.map(({ order, key }) => [order, key]))
  const subgroups = new Map(messages.subgroups.map(({ order, key }) => [order, key]))
  const concepts = new Map<string, Concept>()
  for (const emoji of readJson(emojibase, 'en/data.json', z.array(emojiSchema))) {
    const group = emoji.group === undefined ? undefined : groups.get(emoji.group)
    const subgroup = emoji.subgroup === undefined ? undefined : subgroups.get(emoji.subgroup)
    if (group === undefined || subgroup === undefined || group === 'component') continue
    const base = keyOfHex(emoji.hexcode)
    const kind = group === 'flags' && subgroup !== 'flag' ? 'countryflag' : 'concept'
    const shared = { group, subgroup, kind, base, tags: emoji.tags ?? [] } as const
    concepts.set(base, { ...shared, name: emoji.label, skin: false })
    for (const { hexcode, label } of emoji.skins ?? []) {
      concepts.set(keyOfHex(hexcode), { ...shared, name: label, skin: true })
    }
  }
  return concepts
}

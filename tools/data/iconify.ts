// Reads one Iconify icon set as emoji pictures. Sets with chars.json say which sequence an icon shows; the others
// have names only and are joined through the names known so far.

import { z } from 'zod'

import { keyOfHex } from './emoji-key.ts'
import { readJson, type PackageFiles } from './package-files.ts'

const boxSchema = z.object({
  left: z.number().optional(),
  top: z.number().optional(),
  width: z.number().optional(),
  height: z.number().optional(),
})
const iconSchema = boxSchema.extend({ body: z.string() })
const setSchema = z.object({
  width: z.number().optional(),
  height: z.number().optional(),
  icons: z.record(z.string(), iconSchema),
  aliases: z.record(z.string(), z.object({ parent: z.string() })).optional(),
})
const charsSchema = z.record(z.string(), z.string())

type IconSet = z.infer<typeof setSchema>
type Icon = z.infer<typeof iconSchema>

// Iconify's default for a set without a size: https://iconify.design/docs/types/iconify-json.html
const DEFAULT_SIDE = 16

/**
 * Pictures of a set by emoji key.
 * @param names icon name → key; names of a set with chars.json are added to it where they are new
 * @param extraNames names that only this set uses
 * @returns key → SVG source, in the set's order
 */
export function readIconSet(
  from: PackageFiles,
  names: Map<string, string>,
  extraNames: ReadonlyMap<string, string> = new Map(),
): Map<string, string> {
  const set = readJson(from, 'icons.json', setSchema)
  const chars = from.files.has('chars.json') ? Object.entries(readJson(from, 'chars.json', charsSchema)) : []
  const pictures = new Map<string, string>()
  for (const [hex, name] of chars) {
    const key = keyOfHex(hex)
    if (!names.has(name)) names.set(name, key)
    const icon = findIcon(set, name)
    if (icon !== undefined) pictures.set(key, toSvg(set, icon))
  }
  if (chars.length > 0) return pictures
  for (const name of [...Object.keys(set.icons), ...Object.keys(set.aliases ?? {})]) {
    const flagName = name.replace(/^flag-for-(flag-)?/, 'flag-')
    const key = names.get(name) ?? names.get(flagName) ?? extraNames.get(name)
    const icon = findIcon(set, name)
    if (key !== undefined && icon !== undefined && !pictures.has(key)) pictures.set(key, toSvg(set, icon))
  }
  return pictures
}

/** The icon name that Iconify derives from a CLDR name: `woman’s hat` → `womans-hat`. */
export function iconNameOf(label: string): string {
  const ascii = label
    .toLowerCase()
    .normalize('NFD')
    .replace(/\P{ASCII}/gu, '')
  return ascii
    .replace(/['."()!:,&]/g, '')
    .replace(/\s+/g, '-')
    .replace(/-+/g, '-')
}

function findIcon(set: IconSet, name: string): Icon | undefined {
  const own = set.icons[name]
  if (own !== undefined) return own
  const parent = set.aliases?.[name]?.parent
  return parent === undefined ? undefined : set.icons[parent]
}

function toSvg(set: IconSet, icon: Icon): string {
  const width = icon.width ?? set.width ?? DEFAULT_SIDE
  const height = icon.height ?? set.height ?? DEFAULT_SIDE
  const viewBox = `${icon.left ?? 0} ${icon.top ?? 0} ${width} ${height}`
  const namespaces = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
  return `<svg ${namespaces} viewBox="${viewBox}">${icon.body}</svg>`
}

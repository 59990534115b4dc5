// Icon sets: which icon shows which emoji, and the SVG that is made of it.

import { describe, expect, test } from 'vitest'

import { readIconSet } from '../../../tools/data/iconify.ts'
import type { PackageFiles } from '../../../tools/data/package-files.ts'

function iconSet(files: Record<string, unknown>): PackageFiles {
  const encoder = new TextEncoder()
  const entries = Object.entries(files).map(
    ([path, content]) => [path, encoder.encode(JSON.stringify(content))] as const,
  )
  return { name: 'an icon set', files: new Map(entries) }
}

const ICONS = {
  width: 32,
  height: 36,
  icons: { lion: { body: '<path d="M0 0"/>' }, 'flag-for-chad': { body: '<g/>', left: -1, width: 48 } },
  aliases: { king: { parent: 'lion' }, lost: { parent: 'nobody' } },
}

describe('readIconSet', () => {
  test('follows chars.json, through aliases, and learns its names', () => {
    const names = new Map([['lion', 'KNOWN']])
    const chars = { '1f981': 'lion', '1f451-fe0f': 'king', '1f47b': 'lost' }
    const pictures = readIconSet(iconSet({ 'icons.json': ICONS, 'chars.json': chars }), names)
    expect([...pictures.keys()]).toEqual(['1F981', '1F451'])
    expect(names).toEqual(new Map(Object.entries({ lion: 'KNOWN', king: '1F451', lost: '1F47B' })))
  })

  test('joins a set without chars.json by name, flag name, then the extra names', () => {
    const names = new Map([['flag-chad', '1F1F9-1F1E9']])
    const pictures = readIconSet(iconSet({ 'icons.json': ICONS }), names, new Map([['king', '1F451']]))
    expect([...pictures.keys()]).toEqual(['1F1F9-1F1E9', '1F451'])
  })

  test('takes the view box from the icon, else the set, else 16', () => {
    const names = new Map([
      ['flag-chad', 'FLAG'],
      ['lion', 'LION'],
    ])
    const pictures = readIconSet(iconSet({ 'icons.json': ICONS }), names)
    expect(pictures.get('FLAG')).toContain('viewBox="-1 0 48 36"')
    expect(pictures.get('LION')).toContain('viewBox="0 0 32 36"')
    const bare = iconSet({ 'icons.json': { icons: { lion: { body: '<g/>' } } } })
    expect(readIconSet(bare, names).get('LION')).toContain('viewBox="0 0 16 16"')
  })
})

// What one Open Clip Art file says of itself: licence, and words for its picture. Titles there often name a whole
// collection or the artist, so a title that many files share gives way to the file's name.

export interface ClipArt {
  /** Path below the collection's root, without `.svg`. */
  path: string
  isPublicDomain: boolean
  title: string
  keywords: string[]
  creators: string[]
  description: string
}

// The metadata is RDF of a fixed shape written by one tool, so patterns are enough; prefixes vary.
const WORK = /<(?:\w+:)?Work\b[^>]*>([\s\S]*?)<\/(?:\w+:)?Work>/
const TITLE = /<(?:\w+:)?title\b[^>]*>([^<]*)<\//
const DESCRIPTION = /<(?:\w+:)?description\b[^>]*>([^<]*)<\//
const KEYWORD = /<(?:\w+:)?li\b[^>]*>([^<]*)<\//g
const CREATOR = /<(?:\w+:)?creator\b[^>]*>[\s\S]*?<(?:\w+:)?title\b[^>]*>([^<]*)<\//g
const LICENSE = /<(?:\w+:)?license\b[^>]*resource\s*=\s*"([^"]*)"/g
const PUBLIC_DOMAIN_URLS = new Set([
  'http://web.resource.org/cc/PublicDomain',
  'http://creativecommons.org/licenses/publicdomain/',
])
/** Literal text that some files have instead of, or beside, the URL. */
const PUBLIC_DOMAIN_TEXT = 'Public Domain'

// Words about the file, not about what it shows.
const NOISE = /^(hash|magick|unsorted|theme|icons?|iconset|collection|submission|clipart)$/
const ENTITIES: Record<string, string> = { amp: '&', lt: '<', gt: '>', quot: '"', apos: "'" }
/** A title on more files than this names a collection. */
const MAX_FILES_PER_TITLE = 3
const MAX_DESCRIPTION_CHARACTERS = 160

/** Metadata of one SVG file. */
export function parseClipArt(path: string, svg: string): ClipArt {
  const work = WORK.exec(svg)?.[1] ?? ''
  const licenses = Array.from(svg.matchAll(LICENSE), (match) => match[1] ?? '')
  const isKnown = (license: string) => PUBLIC_DOMAIN_URLS.has(license) || license === PUBLIC_DOMAIN_TEXT
  return {
    path,
    isPublicDomain: licenses.some((license) => PUBLIC_DOMAIN_URLS.has(license)) && licenses.every(isKnown),
    title: clean(TITLE.exec(work)?.[1]),
    keywords: Array.from(work.matchAll(KEYWORD), (match) => clean(match[1])),
    creators: Array.from(work.matchAll(CREATOR), (match) => clean(match[1])),
    description: clean(DESCRIPTION.exec(work)?.[1]),
  }
}

/**
 * English phrases of each clip art, the title or the file's name first; empty where there are no words for it.
 * @param all the whole collection, which is what tells a title from a collection's name
 */
export function clipArtCaptions(all: readonly ClipArt[]): Map<string, string[]> {
  const titleCounts = new Map<string, number>()
  for (const { title } of all) titleCounts.set(title, (titleCounts.get(title) ?? 0) + 1)
  return new Map(
    all.map((art) => [art.path, captionsOf(art, (titleCounts.get(art.title) ?? 0) <= MAX_FILES_PER_TITLE)]),
  )
}

function captionsOf(art: ClipArt, hasOwnTitle: boolean): string[] {
  const title = hasOwnTitle ? describe(art.title, art.creators) : ''
  const names = [title === '' ? describeFileName(art) : title]
  const keywords = art.keywords.filter((keyword) => !/theme/i.test(keyword))
  const description = isSentence(art.description) ? [art.description] : []
  const phrases = [...names, ...keywords.map((keyword) => describe(keyword, art.creators)), ...description]
  return [...new Set(phrases)].filter((phrase) => phrase !== '')
}

/** The words of a title or keyword without numbers, artists and words about the file; lower-cased. */
function describe(phrase: string, creators: readonly string[]): string {
  if (phrase.includes('@')) return ''
  const ownNames = new Set(creators.flatMap(words))
  const withoutArtist = phrase.replace(/^clip ?art by [^-]* - /i, '')
  const kept = words(withoutArtist).filter((word) => !ownNames.has(word) && !NOISE.test(word))
  const text = kept.join(' ')
  return /[a-z]{2}/.test(text) ? text : ''
}

/** File names end in the artist's name, cut to a fixed length: `red_heron_ann_exam_`. */
function describeFileName({ path, creators }: ClipArt): string {
  const ownNames = creators.flatMap(words)
  const isOwnName = (word: string) => ownNames.some((name) => name.startsWith(word))
  const kept = words(path.slice(path.lastIndexOf('/') + 1)).filter((word) => word.length > 1 && !isOwnName(word))
  return describe(kept.join(' '), creators)
}

function isSentence(description: string): boolean {
  const isPlain = description.length <= MAX_DESCRIPTION_CHARACTERS && !/http|@/.test(description)
  return isPlain && words(description).length >= 3
}

/** Lower-case words; digits end a word (`smiley111`), as do dots and underscores. */
function words(phrase: string): string[] {
  const parts = phrase
    .toLowerCase()
    .replace(/\bv?\d+(\.\d+)*\b/g, ' ')
    .split(/[^\p{L}'-]+/u)
  return parts.map((part) => part.replace(/^[-']+|[-']+$/g, '')).filter((part) => part !== '' && part !== 'svg')
}

function clean(text: string | undefined): string {
  const decoded = (text ?? '').replace(/&(?:#x([0-9a-f]+)|#(\d+)|(\w+));/gi, (entity, hex, decimal, name) => {
    if (hex) return String.fromCodePoint(Number.parseInt(hex, 16))
    if (decimal) return String.fromCodePoint(Number(decimal))
    return ENTITIES[name] ?? entity
  })
  return decoded.replace(/\s+/g, ' ').trim()
}

// Names what a file is by its first bytes, so that a refusal can say what was sent. Reads nothing but signatures.

export type ImageFormat = 'png' | 'jpeg' | 'webp'

/** Formats as messages name them. */
export const FORMAT_NAMES = { png: 'PNG', jpeg: 'JPEG', webp: 'WebP' } as const

/** What this service decodes, as messages name it. */
export const SUPPORTED_FORMATS = 'PNG, JPEG or WebP'

/** Formats known by a fixed string at a fixed offset; latin-1, `offset` in bytes. */
const FOREIGN: readonly { name: string; offset: number; magic: string }[] = [
  { name: 'GIF', offset: 0, magic: 'GIF8' },
  { name: 'TIFF', offset: 0, magic: 'II*\0' },
  { name: 'TIFF', offset: 0, magic: 'MM\0*' },
  { name: 'BigTIFF', offset: 0, magic: 'II+\0' },
  { name: 'BigTIFF', offset: 0, magic: 'MM\0+' },
  { name: 'PDF', offset: 0, magic: '%PDF' },
  { name: 'PostScript', offset: 0, magic: '%!PS' },
  { name: 'Photoshop (PSD)', offset: 0, magic: '8BPS' },
  { name: 'QOI', offset: 0, magic: 'qoif' },
  { name: 'JPEG XL', offset: 0, magic: '\xff\x0a' },
  { name: 'JPEG XL', offset: 4, magic: 'JXL \r\n\x87\n' },
  { name: 'JPEG 2000', offset: 4, magic: 'jP  \r\n\x87\n' },
  { name: 'JPEG 2000', offset: 0, magic: '\xff\x4f\xff\x51' },
  { name: 'Windows icon (ICO)', offset: 0, magic: '\0\0\x01\0' },
  { name: 'AVIF', offset: 4, magic: 'ftypavif' },
  { name: 'AVIF', offset: 4, magic: 'ftypavis' },
  { name: 'HEIC', offset: 4, magic: 'ftyphei' },
  { name: 'HEIC', offset: 4, magic: 'ftyphev' },
  { name: 'HEIF', offset: 4, magic: 'ftypmif1' },
  { name: 'HEIF', offset: 4, magic: 'ftypmsf1' },
  { name: 'an ISO media file (MP4)', offset: 4, magic: 'ftyp' },
  { name: 'a RIFF file other than WebP', offset: 0, magic: 'RIFF' },
  { name: 'gzip data', offset: 0, magic: '\x1f\x8b' },
  { name: 'a ZIP archive', offset: 0, magic: 'PK\x03\x04' },
  { name: 'BMP', offset: 0, magic: 'BM' },
]

/** Leading bytes searched for markup; an SVG may open with an XML declaration and comments. */
const MARKUP_WINDOW = 1024

/** The supported format these bytes claim to be, or null. A cut signature still counts, so that it is called damaged. */
export function detectFormat(bytes: Uint8Array): ImageFormat | null {
  if (startsWith(bytes, 0, '\x89PNG\r\n\x1a\n'.slice(0, Math.max(4, Math.min(8, bytes.length))))) return 'png'
  if (startsWith(bytes, 0, '\xff\xd8')) return 'jpeg'
  if (startsWith(bytes, 0, 'RIFF') && startsWith(bytes, 8, 'WEBP')) return 'webp'
  return null
}

/** What unsupported bytes look like, for the refusal's message; never echoes the bytes themselves. */
export function describeForeign(bytes: Uint8Array): string {
  const known = FOREIGN.find(({ offset, magic }) => startsWith(bytes, offset, magic))
  if (known !== undefined) return known.name
  const head = new TextDecoder('latin1').decode(bytes.subarray(0, MARKUP_WINDOW)).toLowerCase()
  const markup = head.replace(/^\u00ef\u00bb\u00bf/, '').trimStart()
  if (!markup.startsWith('<')) return 'unrecognized bytes'
  if (markup.includes('<svg')) return 'SVG'
  return markup.includes('<html') || markup.startsWith('<!doctype html') ? 'HTML' : 'XML'
}

function startsWith(bytes: Uint8Array, offset: number, magic: string): boolean {
  if (offset + magic.length > bytes.length) return false
  for (let index = 0; index < magic.length; index++) {
    if (bytes[offset + index] !== magic.charCodeAt(index)) return false
  }
  return true
}

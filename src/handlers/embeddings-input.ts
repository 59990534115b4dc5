// Turns `input` and its options, as they stand in a request, into what the embedding service takes.
// Items are parsed one by one, so that an error names the place it is about.

import { Buffer } from 'node:buffer'
import type { z } from 'zod'
import { InvalidBase64Error, InvalidInputError, TooManyItemsError, UnsupportedImageError } from '../errors.ts'
import type { EmbedItem } from '../services/embed-request.ts'
import {
  ImageItemSchema,
  MAX_ITEMS,
  MAX_TOKEN_IDS,
  TextItemSchema,
  TextSchema,
  TokenIdsSchema,
} from './embeddings-schema.ts'

const BASE64 = /^[A-Za-z0-9+/]+={0,2}$/
/** Media type, and everything between it and the comma. No group repeats: the text is hostile and up to 20 MiB long. */
const DATA_URI = /^data:([^,;]*)((?:;[^,]*)?),/

/** @throws InvalidInputError, TooManyItemsError, InvalidBase64Error, UnsupportedImageError */
export function parseItems(input: unknown): EmbedItem[] {
  if (input === undefined || input === null)
    throw new InvalidInputError('input: expected it, got none', { param: 'input' })
  if (!Array.isArray(input)) return [parseItem(input, 'input')]
  const list: unknown[] = input
  if (list.length === 0) throw new InvalidInputError('input: expected at least one item, got none', { param: 'input' })
  // A flat list of numbers is one text's token ids, as in OpenAI's API.
  if (typeof list[0] === 'number') return [parseItem(list, 'input')]
  if (list.length > MAX_ITEMS) {
    throw new TooManyItemsError(`input: expected at most ${MAX_ITEMS} items, got ${list.length}`, { param: 'input' })
  }
  return list.map((item, index) => parseItem(item, `input[${index}]`))
}

/** Parses with zod and reports the first thing that is wrong under the request's own field names. */
export function parseField<T>(schema: z.ZodType<T>, value: unknown, param: string): T {
  const parsed = schema.safeParse(value)
  if (parsed.success) return parsed.data
  const issue = parsed.error.issues[0]
  const where = (issue?.path ?? []).reduce<string>(
    (path, key) => (typeof key === 'number' ? `${path}[${key}]` : path === '' ? String(key) : `${path}.${String(key)}`),
    param,
  )
  throw new InvalidInputError(`${where}: ${issue?.message ?? 'invalid'}`, where === '' ? {} : { param: where })
}

function parseItem(item: unknown, param: string): EmbedItem {
  if (typeof item === 'string') return { kind: 'text', text: parseField(TextSchema, item, param), param }
  if (Array.isArray(item)) return { kind: 'tokens', inputIds: parseTokenIds(item, param), param }
  if (typeof item === 'object' && item !== null) {
    if ('image' in item) {
      return parseImage(parseField(ImageItemSchema, item, param).image, `${param}.image`)
    }
    if ('text' in item) {
      const { text, text_pair: textPair } = parseField(TextItemSchema, item, param)
      return { kind: 'text', text, param, ...(textPair === undefined ? {} : { textPair }) }
    }
  }
  const got = item === null ? 'null' : typeof item === 'object' ? 'an object without text or image' : typeof item
  throw new InvalidInputError(`${param}: expected a string, token ids, {"text"} or {"image"}, got ${got}`, { param })
}

function parseTokenIds(list: readonly unknown[], param: string): number[] {
  if (list.length > MAX_TOKEN_IDS) {
    throw new InvalidInputError(`${param}: expected at most ${MAX_TOKEN_IDS} token ids, got ${list.length}`, { param })
  }
  return parseField(TokenIdsSchema, list, param)
}

function parseImage(image: string, param: string): EmbedItem {
  if (/^https?:\/\//i.test(image)) return { kind: 'imageUrl', url: image, param }
  if (!image.startsWith('data:')) return { kind: 'image', bytes: decodeBase64(image, param), param }
  const [head, mediaType = '', parameters = ''] = DATA_URI.exec(image) ?? []
  if (head === undefined || !/;base64$/i.test(parameters)) {
    throw new InvalidBase64Error(`${param}: expected a data URI in base64: data:image/png;base64,...`, { param })
  }
  // The bytes decide what it is; a label that says "not a picture" is refused all the same, as the caller's mistake.
  if (mediaType !== '' && !/^(image\/|application\/octet-stream$)/i.test(mediaType)) {
    throw new UnsupportedImageError(`${param}: expected a data URI of an image type`, { param })
  }
  return { kind: 'image', bytes: decodeBase64(image.slice(head.length), param), param }
}

function decodeBase64(text: string, param: string): Uint8Array {
  const compact = /\s/.test(text) ? text.replaceAll(/\s+/g, '') : text
  // Buffer ignores what is not base64, so the form is checked first; padding may be left out, as many encoders do.
  const padding = compact.endsWith('==') ? 2 : compact.endsWith('=') ? 1 : 0
  const digits = compact.length - padding
  const isPaddedRight = padding === 0 || compact.length % 4 === 0
  if (!BASE64.test(compact) || digits % 4 === 1 || !isPaddedRight) {
    throw new InvalidBase64Error(`${param}: expected a data URI, base64 or an https URL, got none of them`, { param })
  }
  return new Uint8Array(Buffer.from(compact, 'base64'))
}

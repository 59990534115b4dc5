// Turns `input` and its options, as they stand in a request, into what the embedding service takes.
// Items are parsed one by one, so that an error names the place it is about.

import { InvalidInputError, TooManyItemsError } from '../errors.ts'
import type { EmbedItem } from '../services/embed-request.ts'
import {
  ImageItemSchema,
  MAX_ITEMS,
  MAX_TOKEN_IDS,
  TextItemSchema,
  TextSchema,
  TokenIdsSchema,
} from './embeddings-schema.ts'
import { parseField } from './parse-field.ts'
import { parsePicture } from './picture-input.ts'

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

function parseItem(item: unknown, param: string): EmbedItem {
  if (typeof item === 'string') return { kind: 'text', text: parseField(TextSchema, item, param), param }
  if (Array.isArray(item)) return { kind: 'tokens', inputIds: parseTokenIds(item, param), param }
  if (typeof item === 'object' && item !== null) {
    if ('image' in item) {
      return parsePicture(parseField(ImageItemSchema, item, param).image, `${param}.image`)
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

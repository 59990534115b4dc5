// Turns the bodies of POST /v1/multimodal/* into what the services take. Items are parsed one by one, so that an error
// names the place it is about and a hostile list is cut off before zod sees it.

import { InvalidInputError, TooManyItemsError } from '../errors.ts'
import { MAX_PAIRS } from '../jobs/job-work.ts'
import type { JobPicture } from '../services/job-pictures.ts'
import type { MatchJob } from '../services/job-requests.ts'
import type { AnyItem, MaskedItem, PairItem } from '../services/multimodal-jobs.ts'
import { ImageItemSchema, TextSchema } from './embeddings-schema.ts'
import { AnyItemSchema, MaskedItemSchema, PairSchema, SideSchema } from './multimodal-schema.ts'
import { parseField, type JsonObject } from './parse-field.ts'
import { parseJobPicture } from './picture-input.ts'

const MAX_MASKED_PLACES = 4096

export interface MatchParts {
  images: JobPicture[]
  texts: string[]
  pairs: [image: number, text: number][]
  form: MatchJob['form']
}

/** `input`: one item or a list. @throws InvalidInputError, TooManyItemsError, InvalidBase64Error, UnsupportedImageError */
export function parsePairItems(body: JsonObject): PairItem[] {
  return parseItems(body, parsePair)
}

/** @throws as parsePairItems, also for an item without text and image */
export function parseAnyItems(body: JsonObject): AnyItem[] {
  return parseItems(body, (value, param) => {
    const { text, image } = parseField(AnyItemSchema, value, param)
    return toAnyItem(text, image, param)
  })
}

/** @throws as parseAnyItems */
export function parseMaskedItems(body: JsonObject): MaskedItem[] {
  return parseItems(body, (value, param) => {
    expectPlaces(value, param)
    const item = parseField(MaskedItemSchema, value, param)
    return {
      ...toAnyItem(item.text, item.image, param),
      cells: item.masked_patches ?? [],
      boxes: item.masked_boxes ?? [],
    }
  })
}

/** Pairs, a ranking or a matrix. @throws as parsePairItems */
export function parseMatch(body: JsonObject): MatchParts {
  const forms = ['pairs', 'query', 'images'].filter((field) => body[field] !== undefined && body[field] !== null)
  if (forms.length !== 1) {
    throw new InvalidInputError('expected one of {pairs}, {query, candidates} and {images, texts}')
  }
  if (forms[0] === 'pairs') return parsePairs(body)
  return forms[0] === 'query' ? parseRanking(body) : parseMatrix(body)
}

/** A picture or a text that several pairs share is sent and encoded once. */
function parsePairs(body: JsonObject): MatchParts {
  const items = parseList(body.pairs, 'pairs', (value, param) => ({ ...parseField(PairSchema, value, param), param }))
  const images = new Map<string, { place: number; source: JobPicture }>()
  const texts = new Map<string, number>()
  const pairs = items.map(({ image, text, param }): [number, number] => {
    const known = images.get(image) ?? { place: images.size, source: parseJobPicture(image, `${param}.image`) }
    images.set(image, known)
    const textAt = texts.get(text) ?? texts.size
    texts.set(text, textAt)
    return [known.place, textAt]
  })
  return { images: [...images.values()].map(({ source }) => source), texts: [...texts.keys()], pairs, form: 'pairs' }
}

function parseRanking(body: JsonObject): MatchParts {
  const query = parseSide(body.query, 'query')
  const candidates = parseList(body.candidates, 'candidates', parseSide)
  const images: JobPicture[] = []
  const texts: string[] = []
  for (const [index, candidate] of candidates.entries()) {
    if (query.kind === candidate.kind) {
      const [wanted, got] = query.kind === 'text' ? ['pictures', 'a text'] : ['texts', 'a picture']
      const param = `candidates[${index}]`
      throw new InvalidInputError(`${param}: expected ${wanted}, as the query is ${got} itself`, { param })
    }
    if (candidate.kind === 'text') texts.push(candidate.text)
    else images.push(candidate.image)
  }
  if (query.kind === 'text') {
    return { images, texts: [query.text], pairs: images.map((_, image) => [image, 0]), form: 'ranking' }
  }
  return { images: [query.image], texts, pairs: texts.map((_, text) => [0, text]), form: 'ranking' }
}

function parseMatrix(body: JsonObject): MatchParts {
  const images = parseList(body.images, 'images', (value, param) =>
    parseJobPicture(parseField(ImageItemSchema.shape.image, value, param), param),
  )
  const texts = parseList(body.texts, 'texts', (value, param) => parseField(TextSchema, value, param))
  const count = images.length * texts.length
  if (count > MAX_PAIRS) {
    throw new TooManyItemsError(
      `expected at most ${MAX_PAIRS} pairs, got ${images.length} x ${texts.length} = ${count}`,
      {
        param: 'texts',
      },
    )
  }
  return {
    images,
    texts,
    pairs: images.flatMap((_, image) => texts.map((__, text): [number, number] => [image, text])),
    form: 'matrix',
  }
}

type Side = { kind: 'text'; text: string } | { kind: 'image'; image: JobPicture }

function parseSide(value: unknown, param: string): Side {
  const side = parseField(SideSchema, value, param)
  if (typeof side === 'string') return { kind: 'text', text: side }
  return 'text' in side
    ? { kind: 'text', text: side.text }
    : { kind: 'image', image: parseJobPicture(side.image, `${param}.image`) }
}

function parsePair(value: unknown, param: string): PairItem {
  const { text, image } = parseField(PairSchema, value, param)
  return { text, image: parseJobPicture(image, `${param}.image`) }
}

function toAnyItem(text: string | null | undefined, image: string | null | undefined, param: string): AnyItem {
  if (typeof text !== 'string' && typeof image !== 'string') {
    throw new InvalidInputError(`${param}: expected text, image or both`, { param })
  }
  return {
    text: text ?? null,
    image: typeof image === 'string' ? parseJobPicture(image, `${param}.image`) : null,
    param,
  }
}

function parseItems<T>(body: JsonObject, parse: (value: unknown, param: string) => T): T[] {
  return Array.isArray(body.input) ? parseList(body.input, 'input', parse) : [parse(body.input, 'input')]
}

function parseList<T>(value: unknown, param: string, parse: (item: unknown, param: string) => T): T[] {
  if (!Array.isArray(value) || value.length === 0) {
    throw new InvalidInputError(`${param}: expected a list of at least one`, { param })
  }
  if (value.length > MAX_PAIRS) {
    throw new TooManyItemsError(`${param}: expected at most ${MAX_PAIRS}, got ${value.length}`, { param })
  }
  const list: unknown[] = value
  return list.map((item, index) => parse(item, `${param}[${index}]`))
}

/** zod keeps one issue for each wrong element, so a list out of all proportion must not reach it. */
function expectPlaces(value: unknown, param: string): void {
  if (typeof value !== 'object' || value === null) return
  for (const [field, list] of Object.entries(value)) {
    if (!Array.isArray(list) || list.length <= MAX_MASKED_PLACES) continue
    const place = `${param}.${field}`
    throw new TooManyItemsError(`${place}: expected at most ${MAX_MASKED_PLACES}, got ${list.length}`, { param: place })
  }
}

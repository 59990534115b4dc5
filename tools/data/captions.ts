// English phrases for each emoji: CLDR's name and keywords first, then emojibase's label and tags, then emojilib's
// keywords. The first phrase is the name; the order is part of the data set.

import { z } from 'zod'

import type { Concept } from './concepts.ts'
import { keyOfText } from './emoji-key.ts'
import { readJson, type PackageFiles } from './package-files.ts'

/** Phrases by emoji key. */
export type Phrases = ReadonlyMap<string, readonly string[]>

const annotationSchema = z.object({ tts: z.array(z.string()).optional(), default: z.array(z.string()).optional() })
const annotationsSchema = z.object({ annotations: z.record(z.string(), annotationSchema) })
const fullSchema = z.object({ annotations: annotationsSchema })
const derivedSchema = z.object({ annotationsDerived: annotationsSchema })
const emojilibSchema = z.record(z.string(), z.array(z.string()))

/** CLDR: the spoken name, then the keywords, each phrase once; the derived file (flags, ZWJ, skin tones) after the full one. */
export function readCldrPhrases(full: PackageFiles, derived: PackageFiles): Phrases {
  const path = (folder: string) => `${folder}/en/annotations.json`
  const files = [
    readJson(full, path('annotations'), fullSchema).annotations.annotations,
    readJson(derived, path('annotationsDerived'), derivedSchema).annotationsDerived.annotations,
  ]
  const phrases = new Map<string, string[]>()
  for (const annotations of files) {
    for (const [emoji, { tts = [], default: keywords = [] }] of Object.entries(annotations)) {
      const key = keyOfText(emoji)
      phrases.set(key, [...new Set([...(phrases.get(key) ?? []), ...tts, ...keywords])])
    }
  }
  return phrases
}

/** emojilib: keywords, with its underscores turned back into blanks. */
export function readEmojilibPhrases(emojilib: PackageFiles): Phrases {
  const entries = Object.entries(readJson(emojilib, 'dist/emoji-en-US.json', emojilibSchema))
  return new Map(entries.map(([emoji, words]) => [keyOfText(emoji), words.map((word) => word.replaceAll('_', ' '))]))
}

/**
 * All phrases of one emoji, name first.
 * A skin-tone variant falls back on its base where a source does not know it; CLDR phrases stay as they are,
 * later sources add only what is new whatever its case.
 */
export function captionsOf(key: string, concept: Concept, cldr: Phrases, emojilib: Phrases): string[] {
  const first = cldr.get(key) ?? cldr.get(concept.base) ?? [concept.name]
  const more = [concept.name, ...concept.tags, ...(emojilib.get(key) ?? emojilib.get(concept.base) ?? [])]
  return appendNew(first, more)
}

/** `first`, then those of `more` that differ from all before them by more than case and outer blanks. */
export function appendNew(first: readonly string[], more: readonly string[]): string[] {
  const phrases = [...first]
  const seen = new Set(first.map(fold))
  for (const phrase of more) {
    if (fold(phrase) === '' || seen.has(fold(phrase))) continue
    seen.add(fold(phrase))
    phrases.push(phrase.trim())
  }
  return phrases
}

function fold(phrase: string): string {
  return phrase.trim().toLowerCase()
}

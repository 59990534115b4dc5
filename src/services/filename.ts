// What a user's file name becomes: one name without a path, for people and for the content-disposition of a download.
// Objects are never stored under it.

const MAX_CHARACTERS = 255
const NAMELESS = 'file'
// Control characters, those that turn the direction of writing, and halves of surrogate pairs.
const UNPRINTABLE = /[\p{Cc}\p{Cf}\p{Cs}\u2028\u2029]/gu

/** The last part of `name`, printable and at most 255 characters long; `file` when nothing is left. */
export function toFilename(name: string): string {
  const last = name.split(/[/\\]/).at(-1) ?? ''
  const printable = last.replaceAll(UNPRINTABLE, '').trim()
  const characters = Array.from(printable).slice(0, MAX_CHARACTERS).join('')
  return /^\.*$/.test(characters) ? NAMELESS : characters
}

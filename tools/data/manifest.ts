// manifest.json: what a prepared data set consists of, and the hashes by which a checkpoint names it. They cover rows,
// glosses and the bytes of every picture; never a path, a time or a machine.

import { createHash } from 'node:crypto'

import type { Counts } from './counts.ts'
import type { DebianPin, PinnedPackage } from './pins.ts'

export interface DataManifest {
  format_version: 1
  /** SHA-256 over `parts`: the identity of the emoji set, and so of every evaluation on it. */
  hash: string
  /** SHA-256 over `hash` and the hashes of the additions that are there: what a training run can have read. */
  training_hash: string
  parts: SetParts
  renderer: string
  image_size_px: number
  packages: PinnedPackage[]
  counts: Counts
  glosses: number
  additions: Additions
}

/** Further training pictures. Each has a hash of its own, so that the emoji set keeps its identity with and without. */
export interface Additions {
  outlines: OutlinesManifest
  icons: IconsManifest
  /** Only where it was asked for. */
  openclipart?: OpenclipartManifest
}

export interface OutlinesManifest {
  hash: string
  rows: number
  variants: string[]
  styles: string[]
}

export interface IconsManifest {
  hash: string
  packages: PinnedPackage[]
  rows: number
  sets: Record<string, IconSetCounts>
}

export interface IconSetCounts {
  rows: number
  /** Icons that were left out, by reason. */
  left_out: Record<string, number>
}

export interface OpenclipartManifest {
  hash: string
  package: DebianPin
  rows: number
  /** Files that were left out, by reason. */
  left_out: Record<string, number>
}

/** SHA-256 in hex of each part. */
export interface SetParts {
  pairs: string
  glosses: string
  images: string
}

/** Hash of a set from the hashes of its parts. */
export function hashOfParts(parts: Record<string, string>): string {
  const lines = Object.entries(parts).map(([name, hash]) => `${name} ${hash}\n`)
  return sha256(lines.toSorted().join(''))
}

/** Hash of pictures from image path → SHA-256 of the file; independent of order. */
export function hashOfImages(images: ReadonlyMap<string, string>): string {
  const lines = Array.from(images, ([image, hash]) => `${image} ${hash}\n`)
  return sha256(lines.toSorted().join(''))
}

/** Hash of an addition from its row file and its pictures. */
export function hashOfAddition(rowLines: string, images: ReadonlyMap<string, string>): string {
  return hashOfParts({ pairs: sha256(rowLines), images: hashOfImages(images) })
}

/** Hash of the emoji set together with its additions. */
export function hashOfTraining(hash: string, additions: Additions): string {
  const hashes = Object.entries(additions).map(([name, addition]) => [name, (addition as { hash: string }).hash])
  return hashOfParts({ emoji: hash, ...Object.fromEntries(hashes) })
}

/** One JSON object a line, keys in the order in which the rows were built. */
export function toJsonLines(rows: readonly object[]): string {
  return rows.map((row) => `${JSON.stringify(row)}\n`).join('')
}

export function sha256(content: string): string {
  return createHash('sha256').update(content).digest('hex')
}

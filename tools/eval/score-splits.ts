// Splits and vectors to ranks: the same items and the same code for every engine.
import { join } from 'node:path'
import type { Embeddings, EmbeddingRequest, Engine } from './engine.ts'
import { EngineFailedError } from './errors.ts'
import { rankByDotProduct, recallsOf, type RankedQuery, type Recalls } from './ranks.ts'
import type { Gallery, RetrievalSplit, SplitName } from './splits.ts'

export const DIRECTIONS = ['i2t', 't2i'] as const
export type Direction = (typeof DIRECTIONS)[number]

/** Vectors by what they stand for: a name, or a picture's path below images/. */
export interface VectorTable {
  names: ReadonlyMap<string, Float32Array>
  pictures: ReadonlyMap<string, Float32Array>
}

export interface SplitRecalls extends Recalls {
  split: SplitName
  direction: Direction
}

/** An engine's recalls on every split, both directions. */
export async function scoreEngine(
  engine: Engine,
  splits: readonly RetrievalSplit[],
  imagesDir: string,
): Promise<SplitRecalls[]> {
  const vectors = tabulate(splits, await engine(requestFor(splits, imagesDir)))
  return splits.flatMap((split) =>
    DIRECTIONS.map((direction) => ({
      split: split.name,
      direction,
      ...recallsOf(rankSplit(split, vectors, direction)),
    })),
  )
}

/** Every name and picture of the splits, each once. */
export function requestFor(splits: readonly RetrievalSplit[], imagesDir: string): EmbeddingRequest {
  const { names, pictures } = itemsOf(splits)
  return { texts: names, images: pictures.map((image) => join(imagesDir, image)) }
}

/** Puts an engine's answer to requestFor(splits) under its items again; throws EngineFailedError when the counts differ. */
export function tabulate(splits: readonly RetrievalSplit[], { texts, images }: Embeddings): VectorTable {
  const { names, pictures } = itemsOf(splits)
  return { names: zip('texts', names, texts), pictures: zip('images', pictures, images) }
}

/** One ranked query per asking picture: i2t picture → names of the pool, t2i its name → pictures of its style. */
export function rankSplit(split: RetrievalSplit, vectors: VectorTable, direction: Direction): RankedQuery[] {
  return split.galleries.flatMap((gallery) =>
    direction === 'i2t' ? rankNames(split, gallery, vectors) : rankPictures(split, gallery, vectors),
  )
}

function rankNames({ names }: RetrievalSplit, { queries }: Gallery, vectors: VectorTable): RankedQuery[] {
  const concepts = [...names.keys()]
  return rankByDotProduct(
    queries.map(({ image }) => find(vectors.pictures, image)),
    concepts.map((concept) => find(vectors.names, names.get(concept))),
    positionsOf(
      concepts,
      queries.map(({ concept }) => concept),
    ),
  )
}

function rankPictures({ names }: RetrievalSplit, { pictures, queries }: Gallery, vectors: VectorTable): RankedQuery[] {
  return rankByDotProduct(
    queries.map(({ concept }) => find(vectors.names, names.get(concept))),
    pictures.map(({ image }) => find(vectors.pictures, image)),
    positionsOf(
      pictures.map(({ image }) => image),
      queries.map(({ image }) => image),
    ),
  )
}

function positionsOf(candidates: readonly string[], wanted: readonly string[]): number[] {
  const positions = new Map(candidates.map((candidate, position) => [candidate, position]))
  return wanted.map((candidate) => positions.get(candidate) ?? -1)
}

function itemsOf(splits: readonly RetrievalSplit[]): { names: string[]; pictures: string[] } {
  const names = new Set(splits.flatMap((split) => [...split.names.values()]))
  const pictures = new Set(
    splits.flatMap(({ galleries }) => galleries.flatMap((gallery) => gallery.pictures.map(({ image }) => image))),
  )
  return { names: [...names], pictures: [...pictures] }
}

function zip(kind: string, keys: readonly string[], vectors: readonly Float32Array[]): Map<string, Float32Array> {
  if (vectors.length !== keys.length) {
    throw new EngineFailedError(`${kind}: expected ${keys.length} vectors, got ${vectors.length}`)
  }
  return new Map(vectors.map((vector, index) => [keys[index] ?? '', vector]))
}

function find(vectors: ReadonlyMap<string, Float32Array>, key: string | undefined): Float32Array {
  const vector = vectors.get(key ?? '')
  if (vector === undefined) throw new EngineFailedError(`no vector for ${key}`)
  return vector
}

// The bytes of the pictures that a request names, those by URL fetched a few at a time under one budget.

import { ImageUrlRefusedError } from '../errors.ts'
import { fetchImage, type FetchImageOptions } from './fetch-image.ts'

/** A picture as a request gives it; `param` is its place there, for errors: `input[3].image`. */
export type PictureSource = { param: string } & (
  { kind: 'image'; bytes: Uint8Array } | { kind: 'imageUrl'; url: string }
)

/** `maxBytes` counts all pictures of a request together. */
export type ImageFetching = Pick<FetchImageOptions, 'fetch' | 'timeoutMs'> & { maxBytes: number }

const PARALLEL_FETCHES = 4

/**
 * @param fetching undefined where the deployment fetches no pictures
 * @returns the bytes of each picture, in order
 * @throws ImageUrlRefusedError, ImageFetchError, ImageTooLargeError
 */
export async function collectPictures(
  sources: readonly PictureSource[],
  fetching: ImageFetching | undefined,
  signal: AbortSignal,
): Promise<Uint8Array[]> {
  const pictures: Uint8Array[] = []
  const toFetch: { index: number; param: string; url: string }[] = []
  for (const [index, source] of sources.entries()) {
    if (source.kind === 'image') pictures[index] = source.bytes
    else toFetch.push({ index, param: source.param, url: source.url })
  }
  const [first] = toFetch
  if (first === undefined) return pictures
  if (fetching === undefined) throw notFetchedHere(first.param)
  const budget = { bytesLeft: fetching.maxBytes }
  // One iterator shared by all: each takes the next URL when it has finished its last.
  const waiting = toFetch.values()
  const fetchInTurn = async (): Promise<void> => {
    for (const { index, param, url } of waiting) {
      pictures[index] = await fetchImage(url, { ...fetching, budget, param, signal })
    }
  }
  await Promise.all(Array.from({ length: PARALLEL_FETCHES }, fetchInTurn))
  return pictures
}

export function notFetchedHere(param: string): ImageUrlRefusedError {
  return new ImageUrlRefusedError(`${param}: this deployment fetches no pictures; send the bytes as a data URI`, {
    param,
  })
}

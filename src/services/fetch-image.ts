// Fetches a picture a caller named by URL, where the deployment allows that, without becoming a door to places that
// only the service can reach. It sees no DNS: a public name that points to a private address is left to the network
// (Cloudflare's edge has no route to one).

import { ImageFetchError, ImageTooLargeError, ImageUrlRefusedError } from '../errors.ts'
import { concatBytes } from './concat-bytes.ts'

export interface FetchImageOptions {
  fetch: (
    url: string,
    init: { redirect: 'manual'; signal: AbortSignal; headers: Record<string, string> },
  ) => Promise<Response>
  /** Bytes that may still be read, shared by all pictures of a request; counted down as they arrive. */
  budget: { bytesLeft: number }
  timeoutMs: number
  /** The request field, for errors. */
  param: string
  signal: AbortSignal
}

const PRIVATE_SUFFIXES = [
  'localhost',
  'local',
  'internal',
  'intranet',
  'lan',
  'home',
  'corp',
  'home.arpa',
  'onion',
  'test',
]

/**
 * @throws ImageUrlRefusedError for a place the service does not go to, redirects included;
 *   ImageFetchError when the server does not deliver; ImageTooLargeError
 */
export async function fetchImage(url: string, options: FetchImageOptions): Promise<Uint8Array> {
  const target = checkImageUrl(url, options.param)
  const timeout = AbortSignal.timeout(options.timeoutMs)
  try {
    const response = await options.fetch(target.href, {
      redirect: 'manual',
      signal: AbortSignal.any([options.signal, timeout]),
      headers: { accept: 'image/png, image/jpeg, image/webp' },
    })
    return await readImage(response, options)
  } catch (cause) {
    if (
      cause instanceof ImageFetchError ||
      cause instanceof ImageTooLargeError ||
      cause instanceof ImageUrlRefusedError
    ) {
      throw cause
    }
    const what = timeout.aborted ? `no answer within ${options.timeoutMs} ms` : 'the server could not be reached'
    throw new ImageFetchError(`${options.param}: ${what}`, { param: options.param, cause })
  }
}

/** @throws ImageUrlRefusedError unless it is https on port 443 at a public DNS name, without credentials */
export function checkImageUrl(url: string, param: string): URL {
  const refuse = (why: string): never => {
    throw new ImageUrlRefusedError(`${param}: ${why}`, { param })
  }
  if (!URL.canParse(url)) return refuse('expected an https URL')
  const target = new URL(url)
  if (target.protocol !== 'https:') return refuse('only https URLs are fetched')
  if (target.username !== '' || target.password !== '') return refuse('URLs with credentials are not fetched')
  if (target.port !== '') return refuse('only port 443 is used')
  // The URL parser has already turned every spelling of an IPv4 address (hex, octal, one number) into four decimals.
  const host = target.hostname.toLowerCase().replace(/\.+$/, '')
  if (host.startsWith('[') || /^[0-9.]+$/.test(host)) return refuse('IP addresses are not fetched from; use a DNS name')
  const isPrivate = PRIVATE_SUFFIXES.some((suffix) => host === suffix || host.endsWith(`.${suffix}`))
  if (!host.includes('.') || isPrivate) return refuse('only public DNS names are fetched from')
  return target
}

async function readImage(response: Response, options: FetchImageOptions): Promise<Uint8Array> {
  const { param, budget } = options
  if (response.status >= 300 && response.status < 400) {
    await response.body?.cancel()
    throw new ImageUrlRefusedError(`${param}: the server answered with a redirect, which is not followed`, { param })
  }
  if (!response.ok || response.body === null) {
    await response.body?.cancel()
    throw new ImageFetchError(`${param}: the server answered ${response.status}`, { param })
  }
  const chunks: Uint8Array[] = []
  let length = 0
  for await (const chunk of response.body) {
    length += chunk.byteLength
    budget.bytesLeft -= chunk.byteLength
    if (budget.bytesLeft < 0)
      throw new ImageTooLargeError(`${param}: the pictures together are too many bytes`, { param })
    chunks.push(chunk)
  }
  return concatBytes(chunks, length)
}

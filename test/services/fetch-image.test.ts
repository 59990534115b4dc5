// Where the gateway goes for a picture, and where it does not.

import { describe, expect, test } from 'vitest'
import { ImageFetchError, ImageTooLargeError, ImageUrlRefusedError } from '../../src/errors.ts'
import { checkImageUrl, fetchImage, type FetchImageOptions } from '../../src/services/fetch-image.ts'

function options(fetch: FetchImageOptions['fetch'], bytesLeft = 1000): FetchImageOptions {
  const { signal } = new AbortController()
  return { fetch, budget: { bytesLeft }, timeoutMs: 60_000, param: 'input[2].image', signal }
}

describe('checkImageUrl', () => {
  test.for([
    'http://example.org/cat.png',
    'ftp://example.org/cat.png',
    'https://user:secret@example.org/cat.png',
    'https://example.org:8443/cat.png',
    'https://127.0.0.1/cat.png',
    'https://2130706433/cat.png',
    'https://0x7f.1/cat.png',
    'https://017700000001/cat.png',
    'https://10.0.0.8/cat.png',
    'https://169.254.169.254/latest/meta-data',
    'https://1.1.1.1/cat.png',
    'https://[::1]/cat.png',
    'https://[::ffff:127.0.0.1]/cat.png',
    'https://localhost/cat.png',
    'https://LOCALHOST./cat.png',
    'https://localhost../cat.png',
    'https://app.localhost/cat.png',
    'https://printer.local/cat.png',
    'https://metadata.google.internal/cat.png',
    'https://intranet/cat.png',
    'https://',
  ])('refuses %s', (url) => {
    expect(() => checkImageUrl(url, 'input')).toThrow(ImageUrlRefusedError)
  })

  test.for(['https://example.org/cat.png', 'https://Example.ORG:443/a?b=c#d', 'https://xn--bcher-kva.example/x'])(
    'takes %s',
    (url) => {
      expect(checkImageUrl(url, 'input').protocol).toBe('https:')
    },
  )
})

describe('fetchImage', () => {
  test('asks for no redirect to be followed and gives the bytes', async () => {
    let redirect = ''
    const bytes = await fetchImage(
      'https://example.org/cat.png',
      options(async (_url, init) => {
        redirect = init.redirect
        return new Response(Uint8Array.of(1, 2, 3))
      }),
    )
    expect([...bytes]).toEqual([1, 2, 3])
    expect(redirect).toBe('manual')
  })

  test('refuses a redirect, wherever it leads', async () => {
    const redirecting = options(
      async () => new Response(null, { status: 302, headers: { location: 'https://10.0.0.1/' } }),
    )
    await expect(fetchImage('https://example.org/', redirecting)).rejects.toThrow(ImageUrlRefusedError)
  })

  test('counts bytes as they arrive, over all pictures of a request', async () => {
    const shared = options(async () => new Response(new Uint8Array(600)))
    await expect(fetchImage('https://example.org/1', shared)).resolves.toHaveLength(600)
    await expect(fetchImage('https://example.org/2', shared)).rejects.toThrow(ImageTooLargeError)
  })

  test('names the item and the status when the server refuses', async () => {
    const missing = options(async () => new Response('gone', { status: 404 }))
    await expect(fetchImage('https://example.org/', missing)).rejects.toThrow('input[2].image: the server answered 404')
  })

  test('turns a failed connection into an error of ours', async () => {
    const broken = options(() => Promise.reject(new TypeError('connect ECONNREFUSED')))
    await expect(fetchImage('https://example.org/', broken)).rejects.toThrow(ImageFetchError)
  })

  test('gives up at the timeout', async () => {
    const never: FetchImageOptions['fetch'] = (_url, { signal }) =>
      new Promise((_resolve, reject) => {
        signal.addEventListener('abort', () => reject(signal.reason))
      })
    await expect(fetchImage('https://example.org/', { ...options(never), timeoutMs: 1 })).rejects.toThrow('within 1 ms')
  })
})

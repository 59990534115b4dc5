// Pictures by URL, where the deployment allows them. The outside world is a function of this test.

import { Response as OutsideResponse } from 'miniflare'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { embed, MODEL, post, vectorsOf } from '../embedding-client.ts'
import { sendTo, startFakeWorker } from '../fake-worker.ts'
import { startWorkers, type RunningWorkers } from '../harness.ts'
import { errorOf, post as postJson } from '../job-client.ts'
import { makePicture, toBase64 } from '../pictures.ts'

let workers: RunningWorkers
let png: Uint8Array
const visited: string[] = []

beforeAll(async () => {
  png = await makePicture('png')
  workers = await startWorkers({
    vars: { 'flava-edge': { ALLOW_IMAGE_URLS: 'true' } },
    outside: ({ href, pathname }) => {
      visited.push(href)
      if (pathname === '/cat.png') return new OutsideResponse(png)
      if (pathname === '/huge.png') return new OutsideResponse(new Uint8Array(21 * 1024 * 1024))
      if (pathname === '/page.html') return new OutsideResponse('<html>', { headers: { 'content-type': 'text/html' } })
      if (pathname === '/moved.png')
        return new OutsideResponse(null, { status: 302, headers: { location: 'https://pictures.example/cat.png' } })
      return new OutsideResponse('nothing here', { status: 404 })
    },
  })
})
afterAll(() => workers.stop())

test('a picture by URL gives the vector that its bytes give, in its place', async () => {
  const input = ['cat', { image: 'https://pictures.example/cat.png' }, { image: toBase64(png) }]
  const response = await post(workers, { model: MODEL, input })
  expect(response.headers.get('server-timing')).toMatch(/(^|, )fetch;dur=/)
  const vectors = vectorsOf(await embed(workers, input))
  expect(vectors[1]).toEqual(vectors[2])
  expect(visited).toContain('https://pictures.example/cat.png')
})

test.for<[string, number, string]>([
  ['https://pictures.example/missing.png', 422, 'image_fetch_failed'],
  ['https://pictures.example/moved.png', 400, 'image_url_refused'],
  ['https://pictures.example/page.html', 415, 'unsupported_image'],
  ['https://pictures.example/huge.png', 413, 'image_too_large'],
  ['http://pictures.example/cat.png', 400, 'image_url_refused'],
  ['https://169.254.169.254/cat.png', 400, 'image_url_refused'],
  ['https://localhost/cat.png', 400, 'image_url_refused'],
])('%s is refused: %i %s', async ([image, status, code]) => {
  const response = await post(workers, { model: MODEL, input: ['cat', { image }] })
  expect(response.status).toBe(status)
  expect(await response.json()).toMatchObject({ error: { code, param: 'input[1].image' } })
})

test('nothing was asked of a place that is refused, nor of where a redirect led', async () => {
  const before = visited.length
  await post(workers, { model: MODEL, input: { image: 'https://127.0.0.1/cat.png' } })
  await post(workers, { model: MODEL, input: { image: 'https://pictures.example/moved.png' } })
  expect(visited.slice(before)).toEqual(['https://pictures.example/moved.png'])
})

test('a job’s pictures by URL are fetched before it is made, and reach the worker as their bytes', async () => {
  const worker = await startFakeWorker(sendTo(workers.url))
  const pairs = [
    { text: 'a', image: 'https://pictures.example/cat.png' },
    { text: 'a', image: toBase64(png) },
  ]
  const made = await postJson(workers, '/v1/multimodal/match', { model: MODEL, pairs })
  expect(made.status).toBe(202)
  const lease = await worker.leaseOne()
  expect(await worker.input(lease)).toMatchObject({ images: [toBase64(png), toBase64(png)] })
  await worker.complete(lease, { scores: [0.5, 0.5] })
  const cases = [
    ['missing.png', 422, 'image_fetch_failed'],
    ['page.html', 415, 'unsupported_image'],
  ] as const
  for (const [name, status, code] of cases) {
    const wrong = [pairs[0], { text: 'a', image: `https://pictures.example/${name}` }]
    const answer = await postJson(workers, '/v1/multimodal/match', { model: MODEL, pairs: wrong })
    expect([answer.status, errorOf(answer)]).toMatchObject([status, { code, param: 'pairs[1].image' }])
  }
  expect(await worker.lease({ waitMs: 0 })).toEqual([])
})

// The assets binding when it fails: every failure is one that the next request may not meet.
import { expect, test } from 'vitest'
import { loadManifest } from '../../src/flava/package-source.ts'
import { assetsPackage } from '../../src/platform/assets-package.ts'
import { createSha256 } from '../../tools/model/sha256.ts'

const unavailable = (message: string) =>
  expect.objectContaining({ code: 'model_unavailable', status: 503, message: expect.stringContaining(message) })

const loadFrom = (fetch: () => Promise<Response>) => loadManifest(assetsPackage({ fetch }), createSha256)

test('a binding that does not answer is not available', async () => {
  const load = loadFrom(() => Promise.reject(new TypeError('no connection')))
  await expect(load).rejects.toThrow(unavailable('config.json: the assets did not answer'))
})

test('a missing file is not available, by its status', async () => {
  const load = loadFrom(async () => new Response('not found', { status: 404 }))
  await expect(load).rejects.toThrow(unavailable('config.json: expected it in the model package, got status 404'))
})

test('a body that breaks off is not available', async () => {
  const body = new ReadableStream({ pull: (controller) => controller.error(new TypeError('connection lost')) })
  await expect(loadFrom(async () => new Response(body))).rejects.toThrow(
    unavailable('config.json: its source broke off'),
  )
})

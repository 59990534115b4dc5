import { expect, test } from 'vitest'
import { workerEnvironment } from '../../tools/gpu-environment.ts'

test('a worker gets its own token and no key of the service', () => {
  const given = { PATH: '/bin', FLAVA_API_KEY: 'admin', API_KEYS: '[]', FLAVA_WORKER_TOKEN: 'given' }
  const url = new URL('http://127.0.0.1:8787')
  expect(workerEnvironment(given, url, 'minted')).toMatchObject({ PATH: '/bin', FLAVA_WORKER_TOKEN: 'minted' })
  expect(workerEnvironment(given, url)).toMatchObject({ FLAVA_WORKER_TOKEN: 'given', FLAVA_URL: url.origin })
  expect(workerEnvironment(given, url)).not.toHaveProperty('FLAVA_API_KEY')
  expect(workerEnvironment(given, url)).not.toHaveProperty('API_KEYS')
})

// contract/openapi.json against the schemas it is made of.

import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { renderOpenApiDocument } from '../../tools/build-openapi.ts'

test('contract/openapi.json is what `npm run build:openapi` writes', async () => {
  expect(readFileSync('contract/openapi.json', 'utf8')).toBe(await renderOpenApiDocument())
})

test('every operation that needs a key says so, and names its errors', async () => {
  const document: { paths: Record<string, Record<string, { security?: unknown; responses: object }>> } = JSON.parse(
    await renderOpenApiDocument(),
  )
  const operations = Object.entries(document.paths).flatMap(([path, methods]) =>
    Object.values(methods).map((operation) => ({ path, ...operation })),
  )
  expect(operations).toHaveLength(6)
  for (const { path, security, responses } of operations) {
    const isVersioned = path.startsWith('/v1/')
    expect({ path, needsKey: security !== undefined }).toEqual({ path, needsKey: isVersioned })
    expect({ path, refuses: '401' in responses }).toEqual({ path, refuses: isVersioned })
  }
})

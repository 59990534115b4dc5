// contract/openapi.json against the schemas it is made of, and against the routes that there are.

import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import type { AppDependencies } from '../../src/handlers/context.ts'
import { createRoutes } from '../../src/handlers/routes.ts'
import { renderOpenApiDocument } from '../../tools/build-openapi.ts'

interface Operation {
  operationId: string
  security?: Record<string, unknown>[]
  responses: Record<string, unknown>
}

async function operations(): Promise<({ path: string; method: string } & Operation)[]> {
  const document: { paths: Record<string, Record<string, Operation>> } = JSON.parse(await renderOpenApiDocument())
  return Object.entries(document.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => ({ path, method, ...operation })),
  )
}

test('contract/openapi.json is what `npm run build:openapi` writes', async () => {
  expect(readFileSync('contract/openapi.json', 'utf8')).toBe(await renderOpenApiDocument())
})

test('every route is described, and nothing else', async () => {
  // Routes are made without being called, so they need nothing.
  const nothing: AppDependencies = JSON.parse('{"config": {"apiKeys": []}, "embedding": {}, "jobs": {}}')
  const routed = createRoutes(nothing).map(
    ({ method, path }) => `${method.toLowerCase()} ${path.replaceAll(/:(\w+)/g, '{$1}')}`,
  )
  const described = (await operations()).map(({ method, path }) => `${method} ${path}`)
  expect(described.toSorted()).toEqual(routed.toSorted())
})

test('every operation that needs a key says which, and names its errors', async () => {
  const all = await operations()
  expect(new Set(all.map(({ operationId }) => operationId)).size).toBe(all.length)
  const open = ['/livez', '/readyz', '/openapi.json']
  for (const { path, security, responses } of all) {
    const key = open.includes(path) ? undefined : path.startsWith('/v1/worker/') ? 'workerToken' : 'apiKey'
    expect({ path, key: Object.keys(security?.[0] ?? {})[0] }).toEqual({ path, key })
    expect({ path, refuses: '401' in responses }).toEqual({ path, refuses: key !== undefined })
  }
})

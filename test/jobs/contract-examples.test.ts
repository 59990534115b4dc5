// zod takes and refuses the same examples as the JSON Schema does on the worker's side (gpu/tests/test_worker_contract.py).

import { readdirSync, readFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { expect, test } from 'vitest'
import type { z } from 'zod'
import { JOB_WORK } from '../../src/jobs/job-work.ts'
import { MESSAGES } from '../../tools/build-contract.ts'

const EXAMPLES = resolve(import.meta.dirname, '../../contract/examples')

const SCHEMAS = new Map<string, z.ZodType>([
  ...Object.entries(MESSAGES),
  ...Object.entries(JOB_WORK).flatMap(([kind, { input, result }]): [string, z.ZodType][] => [
    [`${kind}.input`, input],
    [`${kind}.result`, result],
  ]),
])

function examplesIn(folder: 'valid' | 'invalid'): { name: string; definition: string; value: unknown }[] {
  return readdirSync(resolve(EXAMPLES, folder)).map((file) => {
    const name = file.replace(/\.json$/, '')
    const value: unknown = JSON.parse(readFileSync(resolve(EXAMPLES, folder, file), 'utf8'))
    return { name, definition: name.split('--')[0] ?? '', value }
  })
}

test.each(examplesIn('valid'))('the valid example $name is taken and keeps all it says', ({ definition, value }) => {
  expect(SCHEMAS.get(definition)?.parse(value)).toEqual(value)
})

test.each(examplesIn('invalid'))('the invalid example $name is refused', ({ definition, value }) => {
  expect(SCHEMAS.get(definition)?.safeParse(value).success).toBe(false)
})

test.each(['valid', 'invalid'] as const)('every definition has an example that is %s', (folder) => {
  const found = new Set(examplesIn(folder).map(({ definition }) => definition))
  expect([...found].toSorted()).toEqual([...SCHEMAS.keys()].toSorted())
})

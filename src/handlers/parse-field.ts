// Parses a piece of a request with zod and says what is wrong under the request's own field names.

import type { z } from 'zod'
import { InvalidInputError } from '../errors.ts'

/** @throws InvalidInputError for the first thing that is wrong; `param` is where `value` stands, '' for the whole */
export function parseField<T>(schema: z.ZodType<T>, value: unknown, param: string): T {
  const parsed = schema.safeParse(value)
  if (parsed.success) return parsed.data
  const issue = parsed.error.issues[0]
  const where = (issue?.path ?? []).reduce<string>(
    (path, key) => (typeof key === 'number' ? `${path}[${key}]` : path === '' ? String(key) : `${path}.${String(key)}`),
    param,
  )
  throw new InvalidInputError(`${where}: ${issue?.message ?? 'invalid'}`, where === '' ? {} : { param: where })
}

export type JsonObject = Record<string, unknown>

/** @param what the fields it should have, for the message; @throws InvalidInputError */
export function expectObject(body: unknown, what: string): JsonObject {
  if (typeof body === 'object' && body !== null && !Array.isArray(body)) return { ...body }
  throw new InvalidInputError(`expected a JSON object with ${what}`)
}

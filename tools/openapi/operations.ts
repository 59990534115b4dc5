// What the description of one route is made of: parameters out of its path, the answers that every route shares, and the
// refusals by status.

import type { RouteConfig } from '@hono/zod-openapi'
import { z } from 'zod'

const ErrorSchema = z
  .object({
    error: z.object({
      message: z.string(),
      type: z.string(),
      param: z.string().nullable().meta({ description: 'The request field it is about: input[3].image.' }),
      code: z.string().meta({ description: 'Stable; messages are not.' }),
    }),
  })
  .meta({ id: 'Error' })

export const requestId = {
  'x-request-id': z.string().meta({ description: "The caller's, when it sent one, or a new one." }),
  'server-timing': z.string().meta({
    description: 'Milliseconds by stage. In production clocks move at Worker-to-Worker calls only.',
  }),
}
const retryAfter = { 'retry-after': z.string().meta({ description: 'Seconds.' }) }

const ERRORS = {
  400: 'The request is wrong; param names the field.',
  401: 'The API key or worker token is missing or wrong.',
  403: 'The API key lacks the scope.',
  404: 'There is no such thing, or it is another project’s.',
  409: 'It is in a state that this does not apply to; with x-should-retry: false, trying again ends the same.',
  413: 'The body, a picture, the work or the answer is too large.',
  415: 'The body or a picture is of a kind that is not read.',
  416: 'The range begins behind the end.',
  422: 'A picture is damaged, its server did not deliver it, or an Idempotency-Key was used for another request.',
  429: 'The project has used up its GPU seconds of this month.',
  500: 'A fault of the service.',
  503: 'Busy, or not ready.',
} as const

export type ErrorStatus = keyof typeof ERRORS

/** What a route that needs a key may always answer. */
export const KEYED: readonly ErrorStatus[] = [401, 403, 500, 503]

type Responses = RouteConfig['responses']

export function errors(...statuses: readonly ErrorStatus[]): Responses {
  return Object.fromEntries(
    statuses.map((status) => [
      status,
      {
        description: ERRORS[status],
        headers: z.object(status === 503 ? { ...requestId, ...retryAfter } : requestId),
        content: { 'application/json': { schema: ErrorSchema } },
      },
    ]),
  )
}

/** A JSON answer. */
export function answer(description: string, schema: z.ZodType, headers: z.ZodRawShape = {}): Responses[number] {
  return {
    description,
    headers: z.object({ ...requestId, ...headers }),
    content: { 'application/json': { schema } },
  }
}

export interface Operation {
  method: RouteConfig['method']
  /** `{name}` stands for a parameter. */
  path: string
  id: string
  summary: string
  /** Absent for routes that ask for nobody's name. */
  key?: 'apiKey' | 'workerToken'
  query?: z.ZodObject
  headers?: z.ZodRawShape
  /** JSON, unless it says otherwise. */
  body?: z.ZodType
  bodyType?: string
  /** The answer's schema, and how it is described. */
  answers: z.ZodType
  description: string
  /** Beside those of every route with a key. */
  refusals?: readonly ErrorStatus[]
  /** Other answers that are none of these. */
  more?: Responses
}

export function toRoute(operation: Operation): RouteConfig {
  const { method, path, id, summary, key, query, headers, body, answers, description, refusals = [], more } = operation
  const names = [...path.matchAll(/\{(\w+)\}/g)].map(([, name = '']) => name)
  const keyed = key === undefined ? [] : KEYED.filter((status) => key === 'apiKey' || status !== 403)
  return {
    method,
    path,
    operationId: id,
    summary,
    ...(key === undefined ? {} : { security: [{ [key]: [] }] }),
    request: {
      ...(names.length === 0 ? {} : { params: z.object(Object.fromEntries(names.map((name) => [name, z.string()]))) }),
      ...(query === undefined ? {} : { query }),
      ...(headers === undefined ? {} : { headers: z.object(headers) }),
      ...(body === undefined
        ? {}
        : { body: { required: true, content: { [operation.bodyType ?? 'application/json']: { schema: body } } } }),
    },
    responses: {
      200: answer(description, answers),
      ...more,
      ...errors(...[...new Set([...keyed, ...refusals])].toSorted((a, b) => a - b)),
    },
  }
}

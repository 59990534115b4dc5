// POST /v1/embeddings as tests use it: the answer is held to the schema that the OpenAPI document shows.

import { EmbeddingsResponseSchema, type EmbeddingsResponse } from '../src/handlers/embeddings-schema.ts'
import type { HttpResponse, RunningWorkers } from './harness.ts'

export const MODEL = 'flava-emoji'

export function post(
  workers: RunningWorkers,
  body: unknown,
  headers: Record<string, string> = {},
): Promise<HttpResponse> {
  return workers.fetch('/v1/embeddings', {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...headers },
    body: typeof body === 'string' ? body : JSON.stringify(body),
  })
}

/** Sends a request that must succeed; options beside `input` are the request's own. */
export async function embed(
  workers: RunningWorkers,
  input: unknown,
  options: object = {},
): Promise<EmbeddingsResponse> {
  const response = await post(workers, { model: MODEL, input, ...options })
  const body: unknown = await response.json()
  if (response.status !== 200) throw new Error(`${response.status}: ${JSON.stringify(body)}`)
  return EmbeddingsResponseSchema.parse(body)
}

/** The vectors of an answer in encoding_format float. */
export function vectorsOf(body: EmbeddingsResponse): number[][] {
  return body.data.map(({ embedding }) => {
    if (typeof embedding === 'string') throw new TypeError('expected numbers, got base64')
    return embedding
  })
}

export function dot(a: readonly number[] | undefined, b: readonly number[] | undefined): number {
  if (a === undefined || b === undefined || a.length !== b.length) throw new TypeError('expected vectors of one length')
  return a.reduce((sum, value, i) => sum + value * (b[i] ?? 0), 0)
}

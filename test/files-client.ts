// /v1/files and /v1/uploads as tests use them: two projects' keys, forms built byte by byte so that they can be wrong.

import { createHash } from 'node:crypto'
import type { z } from 'zod'
import { startWorkers, type HttpResponse, type RunningWorkers } from './harness.ts'
import { FileSchema } from '../src/handlers/files-schema.ts'

const KEYS = {
  'sk-one': { project: 'one', scopes: ['jobs', 'embed'] },
  'sk-two': { project: 'two', scopes: ['jobs'] },
  'sk-embed': { project: 'one', scopes: ['embed'] },
  'sk-root': { project: 'ops', scopes: ['admin'] },
} as const
export type Key = keyof typeof KEYS

/** A service with the keys above, without encoders unless asked for. What is thrown away goes at the next scheduled run. */
export function startKeyedWorkers({
  withoutEncoders = true,
  vars: more = {},
}: { withoutEncoders?: boolean; vars?: Record<string, string> } = {}): Promise<RunningWorkers> {
  const keys = Object.entries(KEYS).map(([key, facts]) => ({ id: key, ...facts, sha256: sha256(key) }))
  const vars = { API_KEYS: JSON.stringify(keys), TRASH_DELAY_SECONDS: '0.001', ...more }
  return startWorkers({ vars: { 'flava-edge': vars }, withoutEncoders })
}

export function bearer(key: string): { authorization: string } {
  return { authorization: `Bearer ${key}` }
}

export function sha256(content: string | Uint8Array): string {
  return createHash('sha256').update(content).digest('hex')
}

export interface FormPart {
  name: string
  content: string | Uint8Array
  /** Makes it a file; taken into the header as it stands. */
  filename?: string
}

export interface Form {
  headers: { 'content-type': string }
  body: Buffer
}

const BOUNDARY = '----flava-test-boundary'

export function form(...parts: readonly FormPart[]): Form {
  const pieces = parts.flatMap(({ name, content, filename }) => [
    Buffer.from(`--${BOUNDARY}\r\ncontent-disposition: form-data; name="${name}"`),
    Buffer.from(filename === undefined ? '' : `; filename="${filename}"`),
    Buffer.from('\r\n\r\n'),
    Buffer.from(content),
    Buffer.from('\r\n'),
  ])
  return {
    headers: { 'content-type': `multipart/form-data; boundary=${BOUNDARY}` },
    body: Buffer.concat([...pieces, Buffer.from(`--${BOUNDARY}--\r\n`)]),
  }
}

export function postForm(
  workers: RunningWorkers,
  path: string,
  { headers, body }: Form,
  key: Key = 'sk-one',
): Promise<HttpResponse> {
  return workers.fetch(path, { method: 'POST', headers: { ...headers, ...bearer(key) }, body })
}

export function postJson(
  workers: RunningWorkers,
  path: string,
  body: unknown,
  key: Key = 'sk-one',
): Promise<HttpResponse> {
  return workers.fetch(path, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...bearer(key) },
    body: JSON.stringify(body),
  })
}

export function get(
  workers: RunningWorkers,
  path: string,
  { key = 'sk-one', method = 'GET', headers = {} }: { key?: Key; method?: string; headers?: object } = {},
): Promise<HttpResponse> {
  return workers.fetch(path, { method, headers: { ...headers, ...bearer(key) } })
}

/** Uploads a file that must be taken. */
export async function putFile(
  workers: RunningWorkers,
  content: string | Uint8Array,
  {
    filename = 'data.jsonl',
    purpose = 'user_data',
    key = 'sk-one',
  }: { filename?: string; purpose?: string; key?: Key } = {},
): Promise<z.infer<typeof FileSchema>> {
  const response = await postForm(
    workers,
    '/v1/files',
    form({ name: 'purpose', content: purpose }, { name: 'file', content, filename }),
    key,
  )
  return FileSchema.parse(await bodyOf(response, 200))
}

/** The JSON of an answer that must have this status. */
export async function bodyOf(response: HttpResponse, status: number): Promise<unknown> {
  const body: unknown = await response.json()
  if (response.status !== status) throw new Error(`expected ${status}, got ${response.status}: ${JSON.stringify(body)}`)
  return body
}

/** Status and error of a refusal. */
export async function refusalOf(response: HttpResponse): Promise<{ status: number; error: unknown }> {
  const body: unknown = await response.json()
  const error = typeof body === 'object' && body !== null && 'error' in body ? body.error : body
  return { status: response.status, error }
}

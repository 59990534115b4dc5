// The jobs API as tests use it: JSON in and out over HTTP, a job's event stream, uploads of small files.

import type { HttpResponse, RunningWorkers } from './harness.ts'
import { makePicture, toBase64 } from './pictures.ts'

export type Json = Record<string, unknown>

export interface JsonAnswer {
  status: number
  headers: HttpResponse['headers']
  body: Json
}

export async function call(
  workers: Pick<RunningWorkers, 'fetch'>,
  method: string,
  path: string,
  { body, headers = {} }: { body?: unknown; headers?: Record<string, string> } = {},
): Promise<JsonAnswer> {
  const response = await workers.fetch(path, {
    method,
    headers: { ...(body === undefined ? {} : { 'content-type': 'application/json' }), ...headers },
    ...(body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) }),
  })
  const parsed: Json = JSON.parse(await response.text())
  return { status: response.status, headers: response.headers, body: parsed }
}

export function post(
  workers: Pick<RunningWorkers, 'fetch'>,
  path: string,
  body: unknown,
  headers: Record<string, string> = {},
): Promise<JsonAnswer> {
  return call(workers, 'POST', path, { body, headers })
}

export function get(
  workers: Pick<RunningWorkers, 'fetch'>,
  path: string,
  headers: Record<string, string> = {},
): Promise<JsonAnswer> {
  return call(workers, 'GET', path, { headers })
}

/** The error object of a refusal. */
export function errorOf({ body }: JsonAnswer): { code: string; param: string | null; message: string; type: string } {
  const { error } = body
  if (typeof error !== 'object' || error === null) throw new Error(`expected a refusal, got ${JSON.stringify(body)}`)
  const { code, param, message, type }: Json = { ...error }
  return {
    code: String(code),
    param: typeof param === 'string' ? param : null,
    message: String(message),
    type: String(type),
  }
}

export interface StreamedEvent {
  id: string | null
  event: string
  data: Json
}

/** Reads server-sent events as they come; ends when the stream does, or when the caller stops. */
export async function* readEvents(response: HttpResponse): AsyncGenerator<StreamedEvent> {
  if (response.body === null) throw new Error('the answer has no body')
  let buffer = ''
  const decoder = new TextDecoder()
  for await (const chunk of response.body) {
    buffer += decoder.decode(chunk, { stream: true })
    for (let end = buffer.indexOf('\n\n'); end !== -1; end = buffer.indexOf('\n\n')) {
      const event = parseEvent(buffer.slice(0, end))
      buffer = buffer.slice(end + 2)
      if (event !== undefined) yield event
    }
  }
}

/** Comments and `retry` are not events. */
function parseEvent(block: string): StreamedEvent | undefined {
  const fields = new Map(
    block.split('\n').map((line) => [line.slice(0, line.indexOf(':')), line.slice(line.indexOf(':') + 1).trim()]),
  )
  const data = fields.get('data')
  if (data === undefined) return undefined
  const parsed: Json = JSON.parse(data)
  return { id: fields.get('id') ?? null, event: fields.get('event') ?? 'message', data: parsed }
}

/** base64 of a small PNG; another seed, another picture. */
export async function pngBase64(seed = 1): Promise<string> {
  return toBase64(await makePicture('png', 32, seed))
}

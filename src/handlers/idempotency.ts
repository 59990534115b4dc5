// Idempotency-Key (draft-ietf-httpapi-idempotency-key-header-07) around a request that makes a job: its answer is kept and
// given again to whoever sends the same request under the same key, in the same project.

import { InvalidInputError } from '../errors.ts'
import type { StoredResponse } from '../jobs/ports.ts'
import type { JobDependencies } from '../services/job-dependencies.ts'
import { sha256Hex } from '../services/sha256.ts'
import type { Attempt } from '../services/submit-job.ts'
import type { AppContext } from './context.ts'
import { expectJson, parseJson, readBytes } from './request-body.ts'

const REPLAYED_HEADER = 'idempotency-replayed'
const MAX_KEY_LENGTH = 255
/** A structured-field string, as the draft writes it, or the bare value that most clients send. */
const QUOTED = /^"((?:[\x20\x21\x23-\x5b\x5d-\x7e]|\\["\\])*)"$/
const BARE = /^[\x21\x23-\x7e][\x20-\x7e]*$/

/** A JSON request's parsed body, and what stands of an earlier request under the same key. */
export interface JobRequest {
  body: unknown
  attempt: Attempt
}

type Run = (request: JobRequest) => Promise<StoredResponse>

/** A row of the broker ends at 2 MB. */
const MAX_KEPT_CHARACTERS = 256 * 1024

/**
 * Reads the body and runs `run` at most once for a key. Refusals that made no job are not kept: the key is free again.
 * @param rebuild makes the body of an answer again that was too long to be kept, from what was kept of it
 * @throws InvalidInputError for a key that is no key; IdempotencyInFlightError, IdempotencyMismatchError; what `run` throws
 */
export async function runOnce(
  c: AppContext,
  deps: JobDependencies,
  run: Run,
  rebuild?: (kept: StoredResponse) => Promise<string>,
): Promise<Response> {
  const key = parseKey(c.req.header('idempotency-key'))
  const { body, fingerprint } = await readRequest(c, key !== null)
  if (key === null) return toResponse(c, await run({ body, attempt: { key, job: null, mayHaveMade: false } }))
  const { project } = c.var
  const start = await deps.broker.beginIdempotent(project, { key, fingerprint })
  if (start.state === 'finished') {
    const { response: kept } = start
    const answer = kept.body === '' && rebuild !== undefined ? { ...kept, body: await rebuild(kept) } : kept
    return toResponse(c, answer, { [REPLAYED_HEADER]: 'true' })
  }
  const attempt: Attempt = { key, job: start.job, mayHaveMade: start.job !== null }
  let response: StoredResponse
  try {
    response = await run({ body, attempt })
  } catch (error) {
    // Where nobody knows whether a job was made, the key stays in flight until the broker lets it go, with the job if
    // there is one.
    if (!attempt.mayHaveMade) await deps.broker.abandonIdempotent(project, key)
    throw error
  }
  const isKept = rebuild === undefined || response.body.length <= MAX_KEPT_CHARACTERS
  await deps.broker.finishIdempotent(project, key, isKept ? response : { ...response, body: '' })
  return toResponse(c, response)
}

function parseKey(header: string | undefined): string | null {
  if (header === undefined) return null
  const value = header.trim()
  const quoted = QUOTED.exec(value)?.[1]?.replaceAll(/\\(["\\])/g, '$1')
  const key = quoted ?? (BARE.test(value) ? value : '')
  if (key.length > 0 && key.length <= MAX_KEY_LENGTH) return key
  throw new InvalidInputError(`Idempotency-Key: expected 1 to ${MAX_KEY_LENGTH} printable ASCII characters`, {
    param: 'Idempotency-Key',
  })
}

/** A function of its own, so that the body's bytes are let go of once they are parsed. */
async function readRequest(c: AppContext, hasKey: boolean): Promise<{ body: unknown; fingerprint: string }> {
  expectJson(c)
  const bytes = await readBytes(c)
  return { body: parseJson(bytes), fingerprint: hasKey ? await fingerprintOf(c, bytes) : '' }
}

async function fingerprintOf(c: AppContext, body: Uint8Array): Promise<string> {
  const head = new TextEncoder().encode(`${c.req.method} ${c.req.path}\n`)
  const whole = new Uint8Array(head.length + body.length)
  whole.set(head)
  whole.set(body, head.length)
  return sha256Hex(whole)
}

function toResponse(
  c: AppContext,
  { status, headers, body }: StoredResponse,
  more: Record<string, string> = {},
): Response {
  for (const [name, value] of Object.entries({ ...headers, ...more })) c.header(name, value)
  return new Response(body, { status, headers: c.body(null).headers })
}

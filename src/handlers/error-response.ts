// An error as an HTTP answer: OpenAI's error object, and the headers that go with some errors.

import { MethodNotAllowedError, type AppError } from '../errors.ts'
import type { StoredResponse } from '../jobs/ports.ts'

/** As plain data, since an answer may be kept and given again. */
export function describeError(error: AppError): StoredResponse {
  const headers: Record<string, string> = { 'content-type': 'application/json' }
  if (error instanceof MethodNotAllowedError) headers.allow = error.allowed.join(', ')
  if (error.status === 401) headers['www-authenticate'] = 'Bearer'
  if (error.retryAfterSeconds !== undefined) headers['retry-after'] = String(error.retryAfterSeconds)
  // OpenAI's clients try 409 and 429 again unless they are told not to.
  if (error.isFinal) headers['x-should-retry'] = 'false'
  const { message, type, param, code } = error.toDetail()
  return { status: error.status, headers, body: JSON.stringify({ error: { message, type, param, code } }) }
}

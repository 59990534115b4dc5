// API keys: kept as SHA-256 hashes, each with an id, a project and scopes. Compares in constant time.

import { z } from 'zod'
import { InsufficientScopeError, InvalidApiKeyError, MissingApiKeyError, MisconfiguredError } from '../errors.ts'
import { equalsInConstantTime } from './constant-time.ts'
import { sha256Hex } from './sha256.ts'

export type Scope = 'embed' | 'classify' | 'jobs' | 'admin'

export interface ApiKey {
  id: string
  project: string
  /** SHA-256 of the key's UTF-8 bytes, 64 lower-case hex digits. */
  sha256: string
  scopes: Scope[]
}

const ApiKeysSchema = z.array(
  z.object({
    id: z.string().min(1),
    project: z.string().min(1),
    sha256: z
      .string()
      .regex(/^[0-9a-fA-F]{64}$/)
      .toLowerCase(),
    scopes: z.array(z.enum(['embed', 'classify', 'jobs', 'admin'])).min(1),
  }),
)

/**
 * Reads the deployment's secret. Unset, blank and `[]` all mean: no key is configured.
 * @throws MisconfiguredError naming the wrong field, never its content
 */
export function parseApiKeys(secret: string | undefined): ApiKey[] {
  if (secret === undefined || secret.trim() === '') return []
  let json: unknown
  try {
    json = JSON.parse(secret)
  } catch {
    // The parser's own message quotes the text, which is a secret.
    throw new MisconfiguredError('API_KEYS: expected a JSON array of {id, project, sha256, scopes}, got invalid JSON')
  }
  const parsed = ApiKeysSchema.safeParse(json)
  if (parsed.success) return parsed.data
  const where = parsed.error.issues[0]?.path.join('.') ?? ''
  throw new MisconfiguredError(`API_KEYS: expected a JSON array of {id, project, sha256, scopes}, wrong at "${where}"`)
}

/**
 * Finds the key a caller presented and checks that it opens a route.
 * @param scopes any one of them opens the route; `admin` opens every route
 * @throws MissingApiKeyError, InvalidApiKeyError, InsufficientScopeError
 */
export async function authorizeApiKey(
  keys: readonly ApiKey[],
  presented: string | undefined,
  scopes: readonly Scope[],
): Promise<ApiKey> {
  if (presented === undefined) throw new MissingApiKeyError('expected an API key in "authorization: Bearer <key>"')
  const digest = await sha256Hex(presented)
  let found: ApiKey | undefined
  // Every key is compared to its end, so time tells nothing of how near a guess came.
  for (const key of keys) if (equalsInConstantTime(digest, key.sha256)) found = key
  if (found === undefined) throw new InvalidApiKeyError('the API key is not one of this service')
  const granted = found.scopes
  if (!granted.includes('admin') && !scopes.some((scope) => granted.includes(scope))) {
    throw new InsufficientScopeError(
      `the API key has scopes ${granted.join(', ')}; this route needs ${scopes.join(' or ')}`,
    )
  }
  return found
}

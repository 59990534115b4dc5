// Who may call a /v1 route: the bearer of a configured key, or anybody on this machine where none is configured.

import { InvalidApiKeyError, MissingApiKeyError } from '../errors.ts'
import { authorizeApiKey, type Scope } from '../services/api-keys.ts'
import { WORKER_TOKEN_PREFIX } from '../services/worker-tokens.ts'
import type { AppConfig, AppContext } from './context.ts'

/** Told in this header, so that nobody takes an open service for a closed one. */
export const OPEN_HEADER = 'x-flava-auth'
export const OPEN_NOTICE = 'open on loopback, no API_KEYS configured'

/** Owner of what is made while no key is configured. */
const OPEN_PROJECT = 'local'

const LOOPBACK_HOSTS = new Set(['localhost', '127.0.0.1', '[::1]'])

/** @throws MissingApiKeyError, InvalidApiKeyError, InsufficientScopeError */
export async function authorize(c: AppContext, config: AppConfig, scopes: readonly Scope[]): Promise<void> {
  const presented = bearerToken(c.req.header('authorization'))
  // Refused where no key is asked for, too: a worker that is configured wrong should learn it on its own machine.
  if (presented?.startsWith(WORKER_TOKEN_PREFIX) === true) {
    throw new InvalidApiKeyError('expected an API key, got a worker token, which opens /v1/worker alone')
  }
  if (config.apiKeys.length === 0) {
    if (!LOOPBACK_HOSTS.has(new URL(c.req.url).hostname)) {
      throw new MissingApiKeyError('no API key is configured, so this service answers on loopback only; set API_KEYS')
    }
    c.header(OPEN_HEADER, OPEN_NOTICE)
    c.set('project', OPEN_PROJECT)
    c.set('isAdmin', true)
    return
  }
  const key = await authorizeApiKey(config.apiKeys, presented, scopes)
  c.var.facts.key = key.id
  c.var.facts.project = key.project
  c.set('project', key.project)
  c.set('isAdmin', key.scopes.includes('admin'))
}

/** The token of an `authorization: Bearer` header. */
export function bearerToken(header: string | undefined): string | undefined {
  return /^Bearer +(\S+) *$/i.exec(header ?? '')?.[1]
}

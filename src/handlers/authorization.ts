// Who may call a /v1 route: the bearer of a configured key, or anybody on this machine where none is configured.

import { MissingApiKeyError } from '../errors.ts'
import { authorizeApiKey, type Scope } from '../services/api-keys.ts'
import type { AppConfig, AppContext } from './context.ts'

/** Told in this header, so that nobody takes an open service for a closed one. */
export const OPEN_HEADER = 'x-flava-auth'
export const OPEN_NOTICE = 'open on loopback, no API_KEYS configured'

/** Owner of what is made while no key is configured. */
const OPEN_PROJECT = 'local'

const LOOPBACK_HOSTS = new Set(['localhost', '127.0.0.1', '[::1]'])

/** @throws MissingApiKeyError, InvalidApiKeyError, InsufficientScopeError */
export async function authorize(c: AppContext, config: AppConfig, scopes: readonly Scope[]): Promise<void> {
  if (config.apiKeys.length === 0) {
    if (!LOOPBACK_HOSTS.has(new URL(c.req.url).hostname)) {
      throw new MissingApiKeyError('no API key is configured, so this service answers on loopback only; set API_KEYS')
    }
    c.header(OPEN_HEADER, OPEN_NOTICE)
    c.set('project', OPEN_PROJECT)
    return
  }
  const key = await authorizeApiKey(config.apiKeys, bearerToken(c.req.header('authorization')), scopes)
  c.var.facts.key = key.id
  c.var.facts.project = key.project
  c.set('project', key.project)
}

function bearerToken(header: string | undefined): string | undefined {
  return /^Bearer +(\S+) *$/i.exec(header ?? '')?.[1]
}

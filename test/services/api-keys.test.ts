// Keys: how the secret is read, and who is let through.

import { createHash } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import { InsufficientScopeError, InvalidApiKeyError, MisconfiguredError, MissingApiKeyError } from '../../src/errors.ts'
import { authorizeApiKey, parseApiKeys, type Scope } from '../../src/services/api-keys.ts'

function entry(key: string, scopes: Scope[]): object {
  return { id: `id-${key}`, project: 'demo', sha256: createHash('sha256').update(key).digest('hex'), scopes }
}

describe('parseApiKeys', () => {
  test.for([undefined, '', '  ', '[]'])('takes %j for no key at all', (secret) => {
    expect(parseApiKeys(secret)).toEqual([])
  })

  test('takes hashes in either case', () => {
    const upper = createHash('sha256').update('a').digest('hex').toUpperCase()
    const secret = JSON.stringify([{ id: 'a', project: 'p', sha256: upper, scopes: ['embed'] }])
    expect(parseApiKeys(secret)[0]?.sha256).toBe(upper.toLowerCase())
  })

  test.for(['not json', '{}', '[{"id":"a"}]', '[{"id":"a","project":"p","sha256":"beef","scopes":["embed"]}]'])(
    'refuses %s without repeating it',
    (secret) => {
      expect(() => parseApiKeys(secret)).toThrow(MisconfiguredError)
      expect(() => parseApiKeys(secret)).not.toThrow(secret)
    },
  )

  test('refuses a scope it does not know', () => {
    const secret = JSON.stringify([{ ...entry('k', []), scopes: ['root'] }])
    expect(() => parseApiKeys(secret)).toThrow('0.scopes.0')
  })
})

describe('authorizeApiKey', () => {
  const keys = parseApiKeys(
    JSON.stringify([entry('first', ['embed']), entry('second', ['jobs']), entry('root', ['admin'])]),
  )

  test('finds the key that was presented', async () => {
    await expect(authorizeApiKey(keys, 'first', ['embed'])).resolves.toMatchObject({ id: 'id-first', project: 'demo' })
  })

  test('lets admin open a route of any scope', async () => {
    await expect(authorizeApiKey(keys, 'root', ['classify'])).resolves.toMatchObject({ id: 'id-root' })
  })

  test('needs one of the scopes of a route, not all', async () => {
    await expect(authorizeApiKey(keys, 'second', ['embed', 'jobs'])).resolves.toMatchObject({ id: 'id-second' })
  })

  test('tells missing, wrong and insufficient keys apart', async () => {
    await expect(authorizeApiKey(keys, undefined, ['embed'])).rejects.toThrow(MissingApiKeyError)
    await expect(authorizeApiKey(keys, 'First', ['embed'])).rejects.toThrow(InvalidApiKeyError)
    await expect(authorizeApiKey(keys, 'second', ['embed'])).rejects.toThrow(InsufficientScopeError)
  })
})

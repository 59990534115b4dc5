// /v1/worker_tokens: makes, lists and revokes the tokens of GPU workers. For keys with the scope admin.

import { z } from 'zod'
import { JOB_KINDS } from '../jobs/kinds.ts'
import type { WorkerToken } from '../jobs/ports.ts'
import type { JobDependencies } from '../services/job-dependencies.ts'
import { createWorkerToken } from '../services/worker-tokens.ts'
import type { AppContext, Route } from './context.ts'
import { parseField } from './parse-field.ts'
import { readJson } from './request-body.ts'
import { toSeconds } from './unix-seconds.ts'

type TokenDependencies = Pick<JobDependencies, 'broker' | 'nowMs' | 'randomHex'>

const SCOPES = ['admin'] as const

export const WorkerTokenRequestSchema = z
  .object({
    name: z.string().min(1).max(64).meta({ description: 'For people: which machine has it.' }),
    kinds: z.array(z.enum(JOB_KINDS)).min(1).nullish().meta({ description: 'Kinds of job it opens. Default: all.' }),
    expires_at: z.int().positive().nullish().meta({ description: 'Unix seconds. Default: never.' }),
  })
  .meta({ id: 'WorkerTokenRequest' })

export const WorkerTokenSchema = z
  .object({
    id: z.string(),
    object: z.literal('worker_token'),
    name: z.string(),
    kinds: z.array(z.enum(JOB_KINDS)).nullable(),
    created_at: z.int(),
    expires_at: z.int().nullable(),
    revoked_at: z.int().nullable(),
    last_used_at: z.int().nullable(),
    token: z.string().optional().meta({ description: 'In the answer that makes it, and never again.' }),
  })
  .meta({ id: 'WorkerToken' })

export const WorkerTokenListSchema = z
  .object({ object: z.literal('list'), data: z.array(WorkerTokenSchema) })
  .meta({ id: 'WorkerTokenList' })

export function workerTokenRoutes(deps: TokenDependencies): Route[] {
  return [
    { method: 'POST', path: '/v1/worker_tokens', scopes: SCOPES, handle: (c) => postToken(c, deps) },
    { method: 'GET', path: '/v1/worker_tokens', scopes: SCOPES, handle: (c) => listTokens(c, deps) },
    { method: 'DELETE', path: '/v1/worker_tokens/:token', scopes: SCOPES, handle: (c) => revokeToken(c, deps) },
  ]
}

async function postToken(c: AppContext, deps: TokenDependencies): Promise<Response> {
  const { name, kinds, expires_at: expiresAt } = parseField(WorkerTokenRequestSchema, await readJson(c), '')
  const { record, token } = await createWorkerToken(deps, {
    name,
    kinds: kinds ?? null,
    expiresAtMs: expiresAt === null || expiresAt === undefined ? null : expiresAt * 1000,
  })
  c.header('cache-control', 'no-store')
  return c.json({ ...toWire(record), token })
}

async function listTokens(c: AppContext, { broker }: TokenDependencies): Promise<Response> {
  return c.json({ object: 'list', data: (await broker.listWorkerTokens()).map(toWire) })
}

/** @throws ResourceNotFoundError */
async function revokeToken(c: AppContext, { broker }: TokenDependencies): Promise<Response> {
  return c.json(toWire(await broker.revokeWorkerToken(c.req.param('token') ?? '')))
}

function toWire(token: WorkerToken): z.infer<typeof WorkerTokenSchema> {
  const { id, name, kinds, createdAtMs, expiresAtMs, revokedAtMs, lastUsedMs } = token
  return {
    id,
    object: 'worker_token',
    name,
    kinds,
    created_at: toSeconds(createdAtMs),
    expires_at: toSeconds(expiresAtMs),
    revoked_at: toSeconds(revokedAtMs),
    last_used_at: toSeconds(lastUsedMs),
  }
}

// Tokens of GPU workers: `fwt_`, the token's id, a secret. Kept as a hash; the token itself is shown once, to who made it.

import { InvalidWorkerTokenError } from '../jobs/errors.ts'
import { newId } from '../jobs/ids.ts'
import type { JobKind } from '../jobs/kinds.ts'
import type { WorkerToken } from '../jobs/ports.ts'
import { equalsInConstantTime } from './constant-time.ts'
import type { JobDependencies } from './job-dependencies.ts'
import { sha256Hex } from './sha256.ts'

/** What every worker token begins with; no API key of ours does. */
export const WORKER_TOKEN_PREFIX = 'fwt_'
const ID_PREFIX = 'wt_'
const SECRET_DIGITS = 64
const TOKEN = /^fwt_([0-9a-f]{24})_[0-9a-f]{64}$/

export interface NewWorkerToken {
  name: string
  /** All when null. */
  kinds: JobKind[] | null
  expiresAtMs: number | null
}

/** @returns the record, and the token that opens what it says, which nobody can tell again */
export async function createWorkerToken(
  { broker, nowMs, randomHex }: Pick<JobDependencies, 'broker' | 'nowMs' | 'randomHex'>,
  { name, kinds, expiresAtMs }: NewWorkerToken,
): Promise<{ record: WorkerToken; token: string }> {
  const id = newId('workerToken', randomHex)
  const token = `${WORKER_TOKEN_PREFIX}${id.slice(ID_PREFIX.length)}_${randomHex(SECRET_DIGITS)}`
  const record: WorkerToken = {
    id,
    name,
    kinds,
    createdAtMs: nowMs(),
    expiresAtMs,
    revokedAtMs: null,
    lastUsedMs: null,
  }
  return { record: await broker.createWorkerToken(record, await sha256Hex(token)), token }
}

/**
 * @param presented the bearer token as it came; API keys have another form and are refused with the rest
 * @throws InvalidWorkerTokenError with the same words for every reason
 */
export async function authorizeWorker(
  { broker, nowMs }: Pick<JobDependencies, 'broker' | 'nowMs'>,
  presented: string | undefined,
): Promise<WorkerToken> {
  const [, digits] = TOKEN.exec(presented ?? '') ?? []
  if (presented !== undefined && digits !== undefined) {
    const found = await broker.findWorkerToken(`${ID_PREFIX}${digits}`)
    if (found !== undefined && equalsInConstantTime(await sha256Hex(presented), found.sha256)) {
      const { revokedAtMs, expiresAtMs } = found.token
      if (revokedAtMs === null && (expiresAtMs === null || expiresAtMs > nowMs())) return found.token
    }
  }
  throw new InvalidWorkerTokenError(
    'expected a worker token that is neither revoked nor expired in "authorization: Bearer fwt_…"; API keys do not open this',
  )
}

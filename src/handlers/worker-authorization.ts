// What every /v1/worker route asks before it reads a body: a worker's token, and the version of the contract it speaks.

import { ContractVersionError } from '../jobs/errors.ts'
import type { WorkerToken } from '../jobs/ports.ts'
import { CONTRACT_HEADER, CONTRACT_VERSION } from '../jobs/worker-protocol.ts'
import type { JobDependencies } from '../services/job-dependencies.ts'
import { authorizeWorker } from '../services/worker-tokens.ts'
import { bearerToken } from './authorization.ts'
import type { AppContext } from './context.ts'

/**
 * Tells this side's version on every answer, refusals included.
 * @throws InvalidWorkerTokenError, ContractVersionError
 */
export async function admitWorker(
  c: AppContext,
  deps: Pick<JobDependencies, 'broker' | 'nowMs'>,
): Promise<WorkerToken> {
  c.header(CONTRACT_HEADER, String(CONTRACT_VERSION))
  const token = await c.var.stages.measure('auth', () =>
    authorizeWorker(deps, bearerToken(c.req.header('authorization'))),
  )
  c.var.facts.key = token.id
  const version = c.req.header(CONTRACT_HEADER)
  if (version === String(CONTRACT_VERSION)) return token
  throw new ContractVersionError(
    `${CONTRACT_HEADER}: this gateway speaks version ${CONTRACT_VERSION} of the worker contract, ` +
      `the worker speaks ${readable(version)}`,
  )
}

function readable(version: string | undefined): string {
  if (version === undefined) return 'none that it names'
  return /^\d{1,9}$/.test(version) ? `version ${version}` : 'one that is not a number'
}

// The environment of a GPU worker that `npm run gpu` starts: this process's, without the keys that are not the worker's.
import { PYTHON_ENV } from './python-env.ts'

export const TOKEN_VARIABLE = 'FLAVA_WORKER_TOKEN'

/** What opens the service itself. A worker reads data sets and models of whoever may send them: it has its own token alone. */
const NOT_THE_WORKERS = ['FLAVA_API_KEY', 'API_KEYS']

/** @param token minted for this worker; without it the one in `given`, if any, stays */
export function workerEnvironment(given: NodeJS.ProcessEnv, url: URL, token?: string): NodeJS.ProcessEnv {
  const kept = Object.fromEntries(Object.entries(given).filter(([name]) => !NOT_THE_WORKERS.includes(name)))
  return {
    ...kept,
    ...PYTHON_ENV,
    FLAVA_URL: url.origin,
    // Not as a flag: those show in the list of processes.
    ...(token === undefined ? {} : { [TOKEN_VARIABLE]: token }),
  }
}

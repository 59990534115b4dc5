// `npm run gpu`: a GPU worker on this machine for the service that runs on it. Sets up .venv, waits for the service, has it
// make a worker token, and runs the worker in the foreground; the token is revoked when the worker ends.
// `npm run gpu -- --url https://… ` with FLAVA_WORKER_TOKEN set works for a service elsewhere. All flags of `flava-gpu work`
// are passed on: `npm run gpu -- --help` lists them.
import { hostname } from 'node:os'
import { setTimeout as wait } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { z } from 'zod'
import { runForeground } from './foreground.mjs'
import { TOKEN_VARIABLE, workerEnvironment } from './gpu-environment.ts'
import { ensurePythonEnv } from './python-env.ts'

const POLL_MS = 500
const REVOKE_TIMEOUT_MS = 2_000
const HTTP_CREATED = 300
const LOOPBACK = ['127.0.0.1', 'localhost', '[::1]']

/** A refusal that the user can act on: printed without a stack trace. */
class GpuError extends Error {}

const MintedSchema = z.object({ id: z.string(), token: z.string() })
type Minted = z.infer<typeof MintedSchema>

try {
  await main(process.argv.slice(2))
} catch (error) {
  if (!(error instanceof GpuError)) throw error
  console.error(`error: ${error.message}`)
  process.exitCode = 1
}

async function main(flags: readonly string[]): Promise<void> {
  const { values } = parseArgs({
    args: [...flags],
    options: { url: { type: 'string' }, token: { type: 'string' }, help: { type: 'boolean', short: 'h' } },
    strict: false,
  })
  const python = await ensurePythonEnv()
  const url = new URL(typeof values.url === 'string' ? values.url : `http://127.0.0.1:${process.env['PORT'] ?? 8787}`)
  const given = typeof values.token === 'string' ? values.token : process.env[TOKEN_VARIABLE]
  const minted = values.help === true || given !== undefined ? undefined : await mintWhenReady(url)
  const env = workerEnvironment(process.env, url, minted?.token)
  await runForeground(python, ['-m', 'flava_gpu.worker', ...flags], { cwd: process.cwd(), env })
  if (minted !== undefined) await revoke(url, minted)
}

/** Waits for a service that is still starting; only one on this machine makes tokens for whoever asks. */
async function mintWhenReady(url: URL): Promise<Minted> {
  if (!LOOPBACK.includes(url.hostname)) {
    throw new GpuError(
      `${url.origin} needs a worker token: make one with POST /v1/worker_tokens, set ${TOKEN_VARIABLE}`,
    )
  }
  let hasSaid = false
  while (!(await isAlive(url))) {
    if (!hasSaid) console.log(`waiting for the service on ${url.origin} (npm start)`)
    hasSaid = true
    await wait(POLL_MS)
  }
  return mint(url)
}

async function isAlive(url: URL): Promise<boolean> {
  try {
    const response = await fetch(new URL('/livez', url))
    await response.arrayBuffer()
    return response.ok
  } catch {
    return false
  }
}

async function mint(url: URL): Promise<Minted> {
  const response = await fetch(new URL('/v1/worker_tokens', url), {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...apiKeyHeader() },
    body: JSON.stringify({ name: `npm run gpu on ${hostname()}`.slice(0, 64) }),
  })
  const body: unknown = await response.json()
  if (response.status >= HTTP_CREATED) {
    throw new GpuError(
      `${url.origin} makes no worker token (${response.status} ${JSON.stringify(body)}): set ${TOKEN_VARIABLE}, or ` +
        'FLAVA_API_KEY to a key with the scope admin',
    )
  }
  return MintedSchema.parse(body)
}

/** As well as it goes: the service may have been stopped together with the worker. */
async function revoke(url: URL, { id }: Minted): Promise<void> {
  try {
    await fetch(new URL(`/v1/worker_tokens/${id}`, url), {
      method: 'DELETE',
      headers: apiKeyHeader(),
      signal: AbortSignal.timeout(REVOKE_TIMEOUT_MS),
    })
  } catch {
    // It stays in the list of tokens, where an operator can revoke it.
  }
}

function apiKeyHeader(): Record<string, string> {
  const key = process.env['FLAVA_API_KEY']
  return key === undefined ? {} : { authorization: `Bearer ${key}` }
}

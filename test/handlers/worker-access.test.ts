// Who may call POST /v1/worker/*, and what GET /v1/workers tells of those who do.

import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { WorkerTokenListSchema, WorkerTokenSchema } from '../../src/handlers/worker-tokens.ts'
import { WorkerListSchema } from '../../src/handlers/workers.ts'
import { bearer, bodyOf, get, postJson, refusalOf } from '../files-client.ts'
import type { HttpResponse } from '../harness.ts'
import { refused, startWorkerBench, type WorkerBench } from '../worker-bench.ts'

let bench: WorkerBench
beforeAll(async () => {
  bench = await startWorkerBench()
})
afterAll(() => bench.workers.stop())
beforeEach(() => bench.clear())

const MATCH = { scores: [0.75] }

describe('who is let in', () => {
  function ask(headers: Record<string, string>): Promise<HttpResponse> {
    return bench.workers.fetch('/v1/worker/lease', { method: 'POST', headers, body: '{}' })
  }
  const contract = { 'x-flava-contract': '1' }

  test.for([
    ['no token', () => ({})],
    ['an API key, even one of an admin', () => bearer('sk-root')],
    ['a token of the right form that was never made', () => bearer(`fwt_${'0'.repeat(24)}_${'0'.repeat(64)}`)],
    ['a token with another secret', () => bearer(bench.token.slice(0, -64) + '0'.repeat(64))],
    ['a token with something behind it', () => bearer(`${bench.token}0`)],
  ] as const)('%s is refused with the same words and the gateway’s contract version', async ([, authorization]) => {
    const response = await ask({ ...contract, ...authorization() })
    expect(response.headers.get('x-flava-contract')).toBe('1')
    expect(await refusalOf(response)).toEqual({
      status: 401,
      error: expect.objectContaining({
        code: 'invalid_worker_token',
        message: expect.stringContaining('API keys do not open this'),
      }),
    })
  })

  test.for(['/v1/files', '/v1/workers', '/v1/worker_tokens', '/v1/nothing'])(
    'a worker token does not open %s',
    async (path) => {
      expect(await refusalOf(await bench.workers.fetch(path, { headers: bearer(bench.token) }))).toMatchObject({
        status: 401,
        error: { code: 'invalid_api_key' },
      })
    },
  )

  test.for([
    ['0', 'the worker speaks version 0'],
    ['2', 'the worker speaks version 2'],
    ['<script>', 'one that is not a number'],
    [undefined, 'none that it names'],
  ] as const)('contract version %s is refused, and both are named', async ([version, words]) => {
    const headers = { ...bearer(bench.token), ...(version === undefined ? {} : { 'x-flava-contract': version }) }
    const response = await ask(headers)
    expect(response.headers.get('x-flava-contract')).toBe('1')
    expect(response.headers.get('x-should-retry')).toBe('false')
    expect(await refusalOf(response)).toMatchObject({
      status: 409,
      error: {
        code: 'contract_version_unsupported',
        message: expect.stringMatching(new RegExp(`speaks version 1 .*${words}`)),
      },
    })
  })

  test('a revoked token and an expired one open nothing more, in the middle of a job as well', async () => {
    const revoked = await bench.mint()
    await bench.submit()
    const held = bench.worker({}, revoked)
    const lease = await held.leaseOne()
    const { data } = WorkerTokenListSchema.parse(
      await bodyOf(await get(bench.workers, '/v1/worker_tokens', { key: 'sk-root' }), 200),
    )
    const { id } = data.find((one) => revoked.includes(one.id.slice(3))) ?? { id: '' }
    await get(bench.workers, `/v1/worker_tokens/${id}`, { key: 'sk-root', method: 'DELETE' })
    const refusal = { status: 401, code: 'invalid_worker_token' }
    expect(await refused(held.complete(lease, MATCH))).toEqual(refusal)
    const past = Math.floor(Date.now() / 1000) - 1
    const answer = await postJson(bench.workers, '/v1/worker_tokens', { name: 'old', expires_at: past }, 'sk-root')
    const { token: expired } = WorkerTokenSchema.parse(await bodyOf(answer, 200))
    expect(await refused(bench.worker({}, expired).lease({ waitMs: 0 }))).toEqual(refusal)
  })

  test('a body that the contract does not know is refused by its field', async () => {
    const response = await ask({ ...contract, ...bearer(bench.token), 'content-type': 'application/json' })
    expect(await refusalOf(response)).toMatchObject({ status: 400, error: { code: 'invalid_input', param: 'worker' } })
  })

  test('a token for some kinds leases those alone', async () => {
    const batches = await bench.mint({ kinds: ['batch'] })
    await bench.submit('multimodal.match')
    const batch = await bench.submit('batch')
    const [lease, ...more] = await bench.worker({}, batches).lease({ maxJobs: 5, waitMs: 0 })
    expect([lease?.job, more.length]).toEqual([batch, 0])
    expect(await refused(bench.worker({ kinds: ['fine_tuning'] }, batches).lease({ waitMs: 0 }))).toEqual({
      status: 403,
      code: 'insufficient_scope',
    })
  })
})

test('GET /v1/workers tells everybody who is there, and admins alone whose token it is and which jobs it holds', async () => {
  await bench.submit('multimodal.match', { project: 'two' })
  const holder = bench.worker()
  const lease = await holder.leaseOne()
  const find = async (key: 'sk-one' | 'sk-root') => {
    const { data } = WorkerListSchema.parse(await bodyOf(await get(bench.workers, '/v1/workers', { key }), 200))
    return data.find(({ id }) => id === holder.description.id)
  }
  const facts = {
    ...holder.description,
    object: 'worker',
    is_connected: true,
    first_seen_at: expect.any(Number),
    last_seen_at: expect.any(Number),
    running: 1,
  }
  expect(await find('sk-one')).toEqual(facts)
  expect(await find('sk-root')).toEqual({ ...facts, token: expect.stringMatching(/^wt_/), jobs: [lease.job] })
})

// Webhooks to a real HTTP server on this machine; signatures are checked with Node's own HMAC.

import { createHmac } from 'node:crypto'
import { createServer, type IncomingHttpHeaders, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import type { JobBroker } from '../../src/jobs/ports.ts'
import { complete, leaseOne, newJob, PROJECT, queueJob, startBroker, type TestBroker } from './broker-fixture.ts'

const KEY = Buffer.alloc(32, 7)
const SECRET = `whsec_${KEY.toString('base64')}`

interface Received {
  path: string
  headers: IncomingHttpHeaders
  body: string
}

let running: TestBroker
let broker: JobBroker
let server: Server
let origin: string
let received: Received[] = []
/** What the server answers next, by path; 204 where nothing is said. */
let answers: Record<string, { status: number; headers?: Record<string, string> }[]> = {}

beforeAll(async () => {
  server = createServer((request, response) => {
    const chunks: Buffer[] = []
    request.on('data', (chunk: Buffer) => chunks.push(chunk))
    request.on('end', () => {
      const path = request.url ?? ''
      received.push({ path, headers: request.headers, body: Buffer.concat(chunks).toString() })
      const { status, headers } = answers[path]?.shift() ?? { status: 204 }
      response.writeHead(status, headers).end()
    })
  })
  await new Promise<void>((listening) => server.listen(0, '127.0.0.1', listening))
  const { port } = server.address() as AddressInfo
  origin = `http://127.0.0.1:${port}`
  running = await startBroker()
  broker = running.broker
})
afterAll(async () => {
  await running.stop()
  await new Promise((closed) => server.close(closed))
})
beforeEach(() => {
  received = []
  answers = {}
})

let made = 0

async function endpoint(path: string, events: string[] = [], project = `hooks-${(made += 1)}`): Promise<string> {
  const record = { id: `we_${made}`, project, url: origin + path, events, createdAtMs: 1, disabledAtMs: null }
  await broker.createWebhookEndpoint(record, SECRET)
  return project
}

async function finishJob(project: string): Promise<string> {
  const id = await queueJob(broker, newJob('batch', { project }))
  await complete(broker, 'a', await leaseOne(broker, 'a'))
  return id
}

test('a job’s end is told, signed as Standard Webhooks prescribes', async () => {
  const project = await endpoint('/good')
  const id = await finishJob(project)
  await expect.poll(() => received).toHaveLength(1)
  const { headers, body } = received[0]!
  const event: unknown = JSON.parse(body)
  expect(event).toEqual({
    id: headers['webhook-id'],
    object: 'event',
    created_at: expect.any(Number),
    type: 'batch.completed',
    data: { id },
  })
  const timestamp = Number(headers['webhook-timestamp'])
  expect(Math.abs(timestamp - (await running.clock()) / 1000)).toBeLessThan(60)
  const content = `${String(headers['webhook-id'])}.${timestamp}.${body}`
  expect(headers['webhook-signature']).toBe(`v1,${createHmac('sha256', KEY).update(content).digest('base64')}`)
  expect(headers['content-type']).toBe('application/json')
  await expect.poll(async () => (await broker.metrics()).webhooksPending).toBe(0)
})

test('only the events that an endpoint asked for, and only of its own project', async () => {
  const project = await endpoint('/failures', ['batch.failed', 'batch.cancelled'])
  await finishJob(project)
  await finishJob(await endpoint('/other'))
  const job = newJob('batch', { project })
  await broker.submit(job, { idempotencyKey: null, gpuSecondsBudget: null })
  await broker.cancel(project, job.id)
  await expect.poll(() => received).toHaveLength(2)
  expect(received.filter(({ path }) => path === '/failures').map(({ body }) => JSON.parse(body))).toMatchObject([
    { type: 'batch.cancelled', data: { id: job.id } },
  ])
})

test('what is not taken comes again later, under the same id and signed anew', async () => {
  answers['/flaky'] = [{ status: 500 }, { status: 302, headers: { location: '/elsewhere' } }]
  await finishJob(await endpoint('/flaky'))
  for (const count of [1, 2]) {
    await expect.poll(() => received).toHaveLength(count)
    await expect.poll(() => isWaitingAgain()).toBe(true)
    await running.advance(11_000)
  }
  await expect.poll(() => received).toHaveLength(3)
  await expect.poll(async () => (await broker.metrics()).webhooksPending).toBe(0)
  expect(new Set(received.map(({ headers }) => headers['webhook-id'])).size).toBe(1)
  expect(new Set(received.map(({ headers }) => headers['webhook-timestamp'])).size).toBe(3)
  expect(received.every(({ path }) => path === '/flaky')).toBe(true)
})

test('Retry-After is honoured', async () => {
  answers['/busy'] = [{ status: 429, headers: { 'retry-after': '120' } }]
  await finishJob(await endpoint('/busy'))
  await expect.poll(() => received).toHaveLength(1)
  await expect.poll(() => isWaitingAgain(100_000)).toBe(true)
  await running.advance(60_000)
  expect(received).toHaveLength(1)
  await running.advance(61_000)
  await expect.poll(() => received).toHaveLength(2)
})

test('410 ends it: the endpoint is disabled and hears of nothing any more', async () => {
  answers['/gone'] = [{ status: 410 }]
  const project = await endpoint('/gone')
  await finishJob(project)
  await expect.poll(async () => (await broker.listWebhookEndpoints(project))[0]?.disabledAtMs ?? 0).toBeGreaterThan(0)
  await finishJob(project)
  await finishJob(await endpoint('/marker'))
  await expect.poll(() => received.map(({ path }) => path)).toEqual(['/gone', '/marker'])
})

test('a slow endpoint holds up neither other endpoints nor a lease that expires', async () => {
  const silent = createServer(() => undefined)
  await new Promise<void>((listening) => silent.listen(0, '127.0.0.1', listening))
  const { port } = silent.address() as AddressInfo
  const project = 'slow'
  const url = `http://127.0.0.1:${port}/`
  await broker.createWebhookEndpoint(
    { id: 'we_slow', project, url, events: [], createdAtMs: 1, disabledAtMs: null },
    SECRET,
  )
  await finishJob(project)
  await finishJob(await endpoint('/quick'))
  await expect.poll(() => received.map(({ path }) => path)).toEqual(['/quick'])
  const id = await queueJob(broker)
  await leaseOne(broker, 'a', { leaseMs: 1_000 })
  const { events } = await broker.eventsAfter(PROJECT, id, 3, { limit: 1, waitMs: 10_000 })
  expect(events).toMatchObject([{ data: { state: 'queued' } }])
  await broker.deleteWebhookEndpoint(project, 'we_slow')
  await broker.cancel(PROJECT, id)
  silent.closeAllConnections()
  await new Promise((closed) => silent.close(closed))
})

test('a delivery that a kill interrupts is made after the restart', async () => {
  answers['/later'] = [{ status: 503 }]
  await finishJob(await endpoint('/later'))
  await expect.poll(() => received).toHaveLength(1)
  await expect.poll(() => isWaitingAgain()).toBe(true)
  await running.killAndRestart()
  // The moved clock is forgotten with the process.
  await running.advance(3_600_000)
  await expect.poll(() => received).toHaveLength(2)
})

test('a service with API keys calls nobody on its own machine', async () => {
  const closed = await startBroker({ API_KEYS: '[{"id":"x"}]' })
  const record = {
    id: 'we_x',
    project: PROJECT,
    url: `${origin}/inside`,
    events: [],
    createdAtMs: 1,
    disabledAtMs: null,
  }
  await closed.broker.createWebhookEndpoint(record, SECRET)
  await queueJob(closed.broker)
  await complete(closed.broker, 'a', await leaseOne(closed.broker, 'a'))
  await expect
    .poll(async () => (await closed.broker.listWebhookEndpoints(PROJECT))[0]?.disabledAtMs ?? 0)
    .toBeGreaterThan(0)
  expect(received).toEqual([])
  await closed.stop()
})

/** Whether the one delivery was put off, by at least `ms`. */
async function isWaitingAgain(ms = 1): Promise<boolean> {
  const [row] = await running.rows('SELECT next_ms, attempts FROM webhook_outbox')
  const aheadMs = Number(row?.['next_ms']) - (await running.clock())
  // While it is being sent it is held for a minute.
  return ms > 60_000 ? aheadMs > ms : aheadMs > 0 && aheadMs < 45_000
}

// The HTTP service: what happens to every request around its handler (id, trace, timing, CORS, keys, log), and the
// one place where an error becomes a response.

import { Hono, type MiddlewareHandler } from 'hono'
import { cors } from 'hono/cors'
import {
  AppError,
  ClientClosedRequestError,
  InternalError,
  MethodNotAllowedError,
  RouteNotFoundError,
} from './errors.ts'
import { authorize } from './handlers/authorization.ts'
import type { AppContext, AppDependencies, AppEnv, Route } from './handlers/context.ts'
import { describeError } from './handlers/error-response.ts'
import { createRoutes } from './handlers/routes.ts'
import type { Scope } from './services/api-keys.ts'
import { createStages } from './services/stages.ts'
import { continueTrace } from './services/trace-context.ts'

const SANE_REQUEST_ID = /^[A-Za-z0-9._:+/=-]{1,128}$/
const EXPOSED_HEADERS = [
  'x-request-id',
  'x-flava-space',
  'x-flava-placement',
  'x-flava-auth',
  'server-timing',
  'retry-after',
  'x-should-retry',
  'location',
  'preference-applied',
  'idempotency-replayed',
]
const PREFLIGHT_MAX_AGE_SECONDS = 86_400
// Keys that open any route at all: for paths under /v1 that do not exist, which only callers with a key may learn.
const EVERY_SCOPE: readonly Scope[] = ['embed', 'classify', 'jobs', 'admin']

export function createApp(deps: AppDependencies): Hono<AppEnv> {
  const app = new Hono<AppEnv>()
  app.use(observe(deps))
  if (!(deps.config instanceof AppError) && deps.config.corsOrigins.length > 0)
    app.use(allowOrigins(deps.config.corsOrigins))
  const routes = createRoutes(deps)
  for (const route of routes) app.on(route.method, route.path, (c) => runRoute(c, route, deps))
  for (const [path, methods] of methodsByPath(routes)) {
    app.options(path, (c) => c.body(null, 204, { allow: methods.join(', ') }))
    app.all(path, async (c) => {
      c.var.facts.route = path
      await requireKeyUnderV1(c, deps)
      throw new MethodNotAllowedError(c.req.method, methods)
    })
  }
  app.notFound(async (c) => {
    // Hono passes what this handler throws over the middleware's head, so it answers errors itself.
    try {
      await requireKeyUnderV1(c, deps)
      throw new RouteNotFoundError('no such route; GET /openapi.json lists them all')
    } catch (error) {
      return toErrorResponse(c, error, deps)
    }
  })
  app.onError((error, c) => toErrorResponse(c, error, deps))
  return app
}

/** Gives the request its id, trace and clock, and tells the log about it when it is over. */
function observe({ now, randomHex, log }: AppDependencies): MiddlewareHandler<AppEnv> {
  return async (c, next) => {
    const incoming = c.req.header('x-request-id')
    const requestId = incoming !== undefined && SANE_REQUEST_ID.test(incoming) ? incoming : `req_${randomHex(32)}`
    const trace = continueTrace(c.req.header('traceparent'), randomHex)
    const stages = createStages(now)
    const { signal } = c.req.raw
    c.set('requestId', requestId)
    c.set('trace', trace)
    c.set('stages', stages)
    c.set('signal', signal)
    c.set('facts', { route: 'none' })
    await next()
    c.header('x-request-id', requestId)
    c.header('server-timing', stages.toServerTiming())
    const isGone = signal.aborted
    log(
      JSON.stringify({
        event: 'request',
        id: requestId,
        trace: trace.traceId,
        span: trace.spanId,
        parent: trace.parentSpanId,
        method: c.req.method,
        ...c.var.facts,
        status: isGone ? new ClientClosedRequestError('').status : c.res.status,
        stages: Object.fromEntries([...stages.durationsMs].map(([name, ms]) => [name, Math.round(ms * 10) / 10])),
        ms: Math.round(stages.totalMs() * 10) / 10,
      }),
    )
  }
}

/** Hono's cors answers every OPTIONS; only preflights are its business, so that a plain OPTIONS still tells the methods. */
function allowOrigins(origins: readonly string[]): MiddlewareHandler<AppEnv> {
  const handle = cors({
    origin: origins.includes('*') ? '*' : [...origins],
    allowMethods: ['GET', 'HEAD', 'POST', 'DELETE', 'OPTIONS'],
    exposeHeaders: EXPOSED_HEADERS,
    maxAge: PREFLIGHT_MAX_AGE_SECONDS,
  })
  return (c, next) => {
    const isPlainOptions = c.req.method === 'OPTIONS' && c.req.header('access-control-request-method') === undefined
    return isPlainOptions ? next() : handle(c, next)
  }
}

async function runRoute(c: AppContext, { path, scopes, handle }: Route, deps: AppDependencies): Promise<Response> {
  c.var.facts.route = path
  if (scopes !== undefined) await checkKey(c, deps, scopes)
  return handle(c)
}

async function requireKeyUnderV1(c: AppContext, deps: AppDependencies): Promise<void> {
  if (c.req.path.startsWith('/v1/')) await checkKey(c, deps, EVERY_SCOPE)
}

async function checkKey(c: AppContext, { config }: AppDependencies, scopes: readonly Scope[]): Promise<void> {
  await c.var.stages.measure('auth', async () => {
    if (config instanceof AppError) throw config
    await authorize(c, config, scopes)
  })
}

function methodsByPath(routes: readonly Route[]): Map<string, string[]> {
  const methods = new Map<string, string[]>()
  for (const { path, method } of routes) {
    const known = methods.get(path) ?? []
    methods.set(path, [...known, ...(method === 'GET' ? ['GET', 'HEAD'] : [method])])
  }
  for (const known of methods.values()) known.push('OPTIONS')
  return methods
}

function toErrorResponse(c: AppContext, thrown: unknown, { log }: AppDependencies): Response {
  const error = thrown instanceof AppError ? thrown : toAppError(thrown, c.var.signal)
  c.var.facts.code = error.code
  if (error.status >= 500) log(JSON.stringify({ event: 'error', id: c.var.requestId, ...describeCauses(thrown) }))
  const { status, headers, body } = describeError(error)
  for (const [name, value] of Object.entries(headers)) c.header(name, value)
  return new Response(body, { status, headers: c.body(null).headers })
}

/** A body that stops because its sender left is nobody's fault here. */
function toAppError(cause: unknown, { aborted }: AbortSignal): AppError {
  return aborted
    ? new ClientClosedRequestError('the client went away', { cause })
    : new InternalError('something went wrong here', { cause })
}

/** What went wrong underneath, for the log alone. Messages of this code never quote a request's content. */
function describeCauses(thrown: unknown): { error: string; causes: string[] } {
  const causes: string[] = []
  let cause = thrown instanceof Error ? thrown.cause : undefined
  for (; cause instanceof Error; cause = cause.cause) causes.push(`${cause.name}: ${cause.message}`)
  return { error: thrown instanceof Error ? (thrown.stack ?? thrown.message) : String(thrown), causes }
}

// What every handler finds in its Hono context, and what the app is made of.

import type { Context } from 'hono'
import type { AppError } from '../errors.ts'
import type { ApiKey, Scope } from '../services/api-keys.ts'
import type { EmbedDependencies } from '../services/embed.ts'
import type { JobServices } from '../services/job-dependencies.ts'
import type { Stages } from '../services/stages.ts'
import type { TraceContext } from '../services/trace-context.ts'

/** Facts of one request that its log line tells; never any content. */
export interface RequestFacts {
  route: string
  model?: string
  key?: string
  project?: string
  items?: number
  tokens?: number
  calls?: number
  /** That was made, or is asked about. */
  job?: string
  /** Of the error answered. */
  code?: string
}

export interface AppVariables {
  requestId: string
  trace: TraceContext
  stages: Stages
  facts: RequestFacts
  /** Whose key it is; everything that is kept belongs to it. */
  project: string
  /** Whether the key may see what is not its project's: which token a worker has, whose job it does. */
  isAdmin: boolean
  /** Aborts when the client goes away. */
  signal: AbortSignal
}

export type AppEnv = { Variables: AppVariables }
export type AppContext = Context<AppEnv>

/** One deployment's settings, parsed. */
export interface AppConfig {
  /** Empty: the service is open on loopback and closed everywhere else. */
  apiKeys: readonly ApiKey[]
  /** Origins that browsers may call from; `*` for any, empty for none. */
  corsOrigins: readonly string[]
}

export interface AppDependencies {
  /** An error when the deployment's settings are wrong: every /v1 route then answers with it. */
  config: AppConfig | AppError
  embedding: EmbedDependencies
  jobs: JobServices
  /** Milliseconds from any origin. */
  now: () => number
  /** Milliseconds since 1970. */
  nowMs: () => number
  /** Random lower-case hex digits. */
  randomHex: (digits: number) => string
  /** Takes one line, a JSON object. */
  log: (line: string) => void
  /** A timer; milliseconds. */
  wait: (ms: number) => Promise<void>
}

/** One method of one path. */
export interface Route {
  method: 'GET' | 'POST' | 'DELETE'
  /** In Hono's notation. */
  path: string
  /** Any one of them opens the route; absent for routes that need no key. */
  scopes?: readonly Scope[]
  handle: (c: AppContext) => Promise<Response> | Response
}

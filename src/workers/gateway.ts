// The gateway Worker: the only one the network reaches. Reads its settings and puts the HTTP service together.

import type { Hono } from 'hono'
import { createApp } from '../app.ts'
import type { AppEnv } from '../handlers/context.ts'
import { MAX_BODY_BYTES } from '../handlers/request-body.ts'
import type { ImageEncoderWorker, PixelsWorker, TextEncoderWorker } from '../services/inner-workers.ts'
import { createModelCatalog } from '../services/model-catalog.ts'
import { connectBroker } from './broker-client.ts'
import { readGatewayConfig, type GatewayVars } from './gateway-config.ts'
import { createJobServices, deliverJobs, keepHouse, type JobBindings } from './job-services.ts'
import { randomHex } from './random-hex.ts'

export { JobBrokerObject } from './job-broker.ts'

interface Env extends GatewayVars, JobBindings {
  TEXT_ENCODER: TextEncoderWorker
  IMAGE_ENCODER: ImageEncoderWorker
  PIXELS: PixelsWorker
}

const IMAGE_FETCH_TIMEOUT_MS = 10_000

// One app an isolate, made at the first request.
let app: Hono<AppEnv> | undefined

export default {
  async fetch(request, env, ctx) {
    app ??= createGateway(env)
    const response = Promise.resolve(app.fetch(request, env, ctx))
    // Otherwise the runtime drops a request whose client has gone before its log line is written.
    ctx.waitUntil(response)
    return response
  },
  queue: (batch, env) => deliverJobs(batch, connectBroker(env.JOB_BROKER)),
  scheduled: (_controller, env) => keepHouse(env),
} satisfies ExportedHandler<Env>

function createGateway(env: Env): Hono<AppEnv> {
  const config = readGatewayConfig(env)
  const { TEXT_ENCODER: textEncoder, IMAGE_ENCODER: imageEncoder, PIXELS: pixels } = env
  return createApp({
    config: config.access,
    embedding: {
      workers: { textEncoder, imageEncoder, pixels },
      catalog: createModelCatalog(config.modelId, textEncoder),
      limits: config.limits,
      callMacs: config.callMacs,
      imageFetching: config.allowImageUrls
        ? // What comes by URL is held to the same size as what comes in a body.
          { fetch: (url, init) => fetch(url, init), timeoutMs: IMAGE_FETCH_TIMEOUT_MS, maxBytes: MAX_BODY_BYTES }
        : undefined,
    },
    jobs: createJobServices(env, config.gpuSecondsBudgets),
    now: () => performance.now(),
    nowMs: () => Date.now(),
    randomHex,
    log: (line) => console.log(line),
    wait: (ms) => scheduler.wait(ms),
  })
}

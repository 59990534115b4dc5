// The gateway Worker: the only one the network reaches. Reads its settings and puts the HTTP service together.

import type { Hono } from 'hono'
import { createApp } from '../app.ts'
import type { AppEnv } from '../handlers/context.ts'
import { MAX_BODY_BYTES } from '../handlers/request-body.ts'
import type { ImageEncoderWorker, PixelsWorker, TextEncoderWorker } from '../services/inner-workers.ts'
import { createModelCatalog } from '../services/model-catalog.ts'
import { readGatewayConfig, type GatewayVars } from './gateway-config.ts'

interface Env extends GatewayVars {
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
    const response = Promise.resolve(app.fetch(request))
    // Otherwise the runtime drops a request whose client has gone before its log line is written.
    ctx.waitUntil(response)
    return response
  },
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
    now: () => performance.now(),
    randomHex,
    log: (line) => console.log(line),
  })
}

function randomHex(digits: number): string {
  const bytes = crypto.getRandomValues(new Uint8Array(Math.ceil(digits / 2)))
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0'))
    .join('')
    .slice(0, digits)
}

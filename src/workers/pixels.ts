// The pixels Worker: decoding and resizing in an isolate of its own, since a decoded picture needs memory that an
// encoder's isolate does not have, and a hostile file should take nobody with it.

import jpeg from '@jsquash/jpeg/codec/dec/mozjpeg_dec.wasm'
import png from '@jsquash/png/codec/pkg/squoosh_png_bg.wasm'
import webp from '@jsquash/webp/codec/dec/webp_dec.wasm'
import { WorkerEntrypoint } from 'cloudflare:workers'
import { createImageDecoders, type ImageDecoders } from '../image/image-decoders.ts'
import type {
  PixelsReadiness,
  PixelsWorker,
  ResizeImagesReply,
  ResizeImagesRequest,
} from '../services/inner-workers.ts'
import type { RequestQueue } from '../services/request-queue.ts'
import { resizeImages } from '../services/resize-images.ts'
import type { RpcResult } from '../services/rpc-result.ts'
import { answerCall, answerQuestion, createIsolateQueue } from './inner-call.ts'
import { readPositiveVar } from './positive-var.ts'

interface Env {
  MAX_IMAGE_PIXELS: string
  MAX_QUEUE: string
}

interface Isolate {
  queue: RequestQueue
  decoders: ImageDecoders
  maxPixels: number
}

const NAME = 'pixels'

// Made at the first call and kept: decoder instances are reused while they are sound.
let isolate: Isolate | undefined

export class Pixels extends WorkerEntrypoint<Env> implements PixelsWorker {
  readonly #isolate = (isolate ??= createIsolate(this.env))

  ready(): Promise<RpcResult<PixelsReadiness>> {
    const { maxPixels } = this.#isolate
    return answerQuestion(this.ctx, NAME, async () => ({ formats: ['png', 'jpeg', 'webp'], maxPixels }))
  }

  resize(request: ResizeImagesRequest): Promise<RpcResult<ResizeImagesReply>> {
    const { queue, decoders, maxPixels } = this.#isolate
    return answerCall(this.ctx, { worker: NAME, trace: request.trace, items: request.images.length }, () =>
      queue.run(() => resizeImages(decoders, request, maxPixels)),
    )
  }
}

export default {
  fetch: () => new Response(null, { status: 404 }),
} satisfies ExportedHandler

function createIsolate(env: Env): Isolate {
  return {
    queue: createIsolateQueue(NAME, env.MAX_QUEUE),
    decoders: createImageDecoders({ png, jpeg, webp }),
    maxPixels: readPositiveVar('MAX_IMAGE_PIXELS', env.MAX_IMAGE_PIXELS),
  }
}

// The image encoder's Worker: weights and kernels in an isolate of their own, reached by the gateway alone.

import { WorkerEntrypoint } from 'cloudflare:workers'
import { loadImageEncoder } from '../flava/image-encoder.ts'
import { createSha256 } from '../platform/digest.ts'
import { imageMacs } from '../services/cost.ts'
import { embedImages, type ImageModel } from '../services/embed-images.ts'
import type {
  EmbedImagesRequest,
  EncodedVectors,
  EncoderReadiness,
  ImageEncoderWorker,
} from '../services/inner-workers.ts'
import type { KeepAlive } from '../services/load-once.ts'
import type { RpcResult } from '../services/rpc-result.ts'
import {
  createEncoderIsolate,
  currentReadiness,
  type EncoderEnv,
  type EncoderIsolate,
  type EncoderKind,
} from './encoder-isolate.ts'
import { answerCall, answerQuestion } from './inner-call.ts'

const IMAGE: EncoderKind<ImageModel> = {
  name: 'image-encoder',
  file: 'image',
  async load(kernels, manifest, source, isWanted) {
    const weights = await source.open(manifest.files.image)
    return { manifest, encoder: await loadImageEncoder(kernels, manifest, weights, createSha256, isWanted) }
  },
  warmUp(model) {
    const { size } = model.manifest.preprocessing
    const trace = { requestId: 'warm-up', traceparent: '' }
    const { vectors } = embedImages(model, {
      rgb: new Uint8Array(size * size * 3),
      count: 1,
      output: 'projected',
      trace,
    })
    return vectors[0] ?? new Float32Array()
  },
  warmUpMacs: ({ manifest }) => imageMacs(manifest),
  footprint: ({ encoder }) => encoder.footprint,
}

// Made at the first call and kept: the weights are what the isolate is for.
let isolate: EncoderIsolate<ImageModel> | undefined

export class ImageEncoderService extends WorkerEntrypoint<EncoderEnv> implements ImageEncoderWorker {
  readonly #keepAlive: KeepAlive = (work) => this.ctx.waitUntil(work)

  ready(): Promise<RpcResult<EncoderReadiness>> {
    return answerQuestion(this.ctx, IMAGE.name, async () => {
      const loaded = await this.#isolate().model.get(this.#keepAlive)
      return currentReadiness(loaded, loaded.model.encoder.kernels)
    })
  }

  embed(request: EmbedImagesRequest): Promise<RpcResult<EncodedVectors>> {
    return answerCall(this.ctx, { worker: IMAGE.name, trace: request.trace, items: request.count }, () => {
      const { queue, model } = this.#isolate()
      return queue.run(async () => embedImages((await model.get(this.#keepAlive)).model, request))
    })
  }

  #isolate(): EncoderIsolate<ImageModel> {
    return (isolate ??= createEncoderIsolate(this.env, IMAGE))
  }
}

export default {
  fetch: () => new Response(null, { status: 404 }),
} satisfies ExportedHandler

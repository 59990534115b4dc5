// The image encoder's Worker: weights and kernels in an isolate of their own, reached by the gateway alone.

import { WorkerEntrypoint } from 'cloudflare:workers'
import relaxedSimd from '../../build/wasm/relaxed.wasm'
import simd128 from '../../build/wasm/simd128.wasm'
import { loadImageEncoder } from '../flava/image-encoder.ts'
import { createSha256 } from '../platform/digest.ts'
import { embedImages, type ImageModel } from '../services/embed-images.ts'
import type {
  EmbedImagesRequest,
  EncodedVectors,
  EncoderReadiness,
  ImageEncoderWorker,
} from '../services/inner-workers.ts'
import { createLoadOnce, type KeepAlive, type LoadOnce } from '../services/load-once.ts'
import type { RequestQueue } from '../services/request-queue.ts'
import type { RpcResult } from '../services/rpc-result.ts'
import { createKernels } from '../wasm/kernels.ts'
import { MAX_MEMORY_BYTES } from './encoder-memory.ts'
import { answerCall, answerQuestion, createIsolateQueue } from './inner-call.ts'
import { loadManifest, openWeights } from './model-assets.ts'

interface Env {
  MODEL: Fetcher
  MAX_QUEUE: string
}

interface Isolate {
  queue: RequestQueue
  model: LoadOnce<ImageModel>
}

const NAME = 'image-encoder'

// Made at the first call and kept: the weights are what the isolate is for.
let isolate: Isolate | undefined

export class ImageEncoderService extends WorkerEntrypoint<Env> implements ImageEncoderWorker {
  readonly #isolate = (isolate ??= createIsolate(this.env))
  readonly #keepAlive: KeepAlive = (work) => this.ctx.waitUntil(work)

  ready(): Promise<RpcResult<EncoderReadiness>> {
    return answerQuestion(this.ctx, NAME, async () => {
      const { manifest, encoder } = await this.#isolate.model(this.#keepAlive)
      const { build, memory } = encoder.kernels
      return { build, space: manifest.space, weights: manifest.weights, memoryBytes: memory.buffer.byteLength }
    })
  }

  embed(request: EmbedImagesRequest): Promise<RpcResult<EncodedVectors>> {
    const { queue, model } = this.#isolate
    return answerCall(this.ctx, { worker: NAME, trace: request.trace, items: request.count }, () =>
      queue.run(async () => embedImages(await model(this.#keepAlive), request)),
    )
  }
}

export default {
  fetch: () => new Response(null, { status: 404 }),
} satisfies ExportedHandler

function createIsolate(env: Env): Isolate {
  return { queue: createIsolateQueue(NAME, env.MAX_QUEUE), model: createLoadOnce(() => loadModel(env.MODEL)) }
}

async function loadModel(assets: Fetcher): Promise<ImageModel> {
  const manifest = await loadManifest(assets)
  const kernels = createKernels({ relaxedSimd, simd128 }, { maxBytes: MAX_MEMORY_BYTES })
  const encoder = await loadImageEncoder(kernels, manifest, await openWeights(assets), createSha256)
  const model = { manifest, encoder }
  warmUp(model)
  return model
}

/** V8 begins with its baseline compiler: the first pass of an isolate is about twice as slow as the ones after it. */
function warmUp(model: ImageModel): void {
  const { size } = model.manifest.preprocessing
  const trace = { requestId: 'warm-up', traceparent: '' }
  embedImages(model, { rgb: new Uint8Array(size * size * 3), count: 1, output: 'projected', trace })
}

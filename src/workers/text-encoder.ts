// The text encoder's Worker: tokenizer, weights and kernels in an isolate of their own, reached by the gateway alone.

import { WorkerEntrypoint } from 'cloudflare:workers'
import relaxedSimd from '../../build/wasm/relaxed.wasm'
import simd128 from '../../build/wasm/simd128.wasm'
import { loadTextEncoder } from '../flava/text-encoder.ts'
import type { ModelManifest } from '../flava/manifest.ts'
import { createSha256 } from '../platform/digest.ts'
import { embedTexts, type TextModel } from '../services/embed-texts.ts'
import type {
  EmbedTextsReply,
  EmbedTextsRequest,
  EncoderReadiness,
  TextEncoderWorker,
} from '../services/inner-workers.ts'
import { createLoadOnce, type KeepAlive, type LoadOnce } from '../services/load-once.ts'
import type { RequestQueue } from '../services/request-queue.ts'
import type { RpcResult } from '../services/rpc-result.ts'
import { createKernels } from '../wasm/kernels.ts'
import { MAX_MEMORY_BYTES } from './encoder-memory.ts'
import { answerCall, answerQuestion, createIsolateQueue } from './inner-call.ts'
import { loadManifest, loadTokenizer, openWeights } from './model-assets.ts'

interface Env {
  MODEL: Fetcher
  MAX_QUEUE: string
}

interface Isolate {
  queue: RequestQueue
  manifest: LoadOnce<ModelManifest>
  model: LoadOnce<TextModel>
}

const NAME = 'text-encoder'

// Made at the first call and kept: the weights are what the isolate is for.
let isolate: Isolate | undefined

export class TextEncoderService extends WorkerEntrypoint<Env> implements TextEncoderWorker {
  readonly #isolate = (isolate ??= createIsolate(this.env))
  readonly #keepAlive: KeepAlive = (work) => this.ctx.waitUntil(work)

  describe(): Promise<RpcResult<ModelManifest>> {
    return answerQuestion(this.ctx, NAME, () => this.#isolate.manifest(this.#keepAlive))
  }

  ready(): Promise<RpcResult<EncoderReadiness>> {
    return answerQuestion(this.ctx, NAME, async () => {
      const { manifest, encoder } = await this.#isolate.model(this.#keepAlive)
      const { build, memory } = encoder.kernels
      return { build, space: manifest.space, weights: manifest.weights, memoryBytes: memory.buffer.byteLength }
    })
  }

  embed(request: EmbedTextsRequest): Promise<RpcResult<EmbedTextsReply>> {
    const { queue, model } = this.#isolate
    return answerCall(this.ctx, { worker: NAME, trace: request.trace, items: request.items.length }, () =>
      queue.run(async () => embedTexts(await model(this.#keepAlive), request)),
    )
  }
}

export default {
  fetch: () => new Response(null, { status: 404 }),
} satisfies ExportedHandler

function createIsolate(env: Env): Isolate {
  const manifest = createLoadOnce(() => loadManifest(env.MODEL))
  return {
    queue: createIsolateQueue(NAME, env.MAX_QUEUE),
    manifest,
    model: createLoadOnce(() => loadModel(env.MODEL)),
  }
}

async function loadModel(assets: Fetcher): Promise<TextModel> {
  const [manifest, tokenizer] = await Promise.all([loadManifest(assets), loadTokenizer(assets)])
  const kernels = createKernels({ relaxedSimd, simd128 }, { maxBytes: MAX_MEMORY_BYTES })
  const encoder = await loadTextEncoder(kernels, manifest, await openWeights(assets), createSha256)
  const model = { manifest, tokenizer, encoder }
  warmUp(model)
  return model
}

/** V8 begins with its baseline compiler: the first pass of an isolate is about twice as slow as the ones after it. */
function warmUp(model: TextModel): void {
  const trace = { requestId: 'warm-up', traceparent: '' }
  embedTexts(model, { items: [{ text: 'a picture of a cat' }], output: 'projected', truncate: true, trace })
}

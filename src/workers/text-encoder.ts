// The text encoder's Worker: tokenizer, weights and kernels in an isolate of their own, reached by the gateway alone.

import { WorkerEntrypoint } from 'cloudflare:workers'
import type { ModelManifest } from '../flava/manifest.ts'
import { readPackageJson } from '../flava/package-source.ts'
import { loadTextEncoder } from '../flava/text-encoder.ts'
import { createSha256 } from '../platform/digest.ts'
import { sequenceMacs } from '../services/cost.ts'
import { embedTexts, type TextModel } from '../services/embed-texts.ts'
import type {
  EmbedTextsReply,
  EmbedTextsRequest,
  EncoderReadiness,
  TextEncoderWorker,
} from '../services/inner-workers.ts'
import type { KeepAlive } from '../services/load-once.ts'
import type { RpcResult } from '../services/rpc-result.ts'
import { createTokenizer } from '../tokenize/tokenizer.ts'
import {
  createEncoderIsolate,
  currentReadiness,
  type EncoderEnv,
  type EncoderIsolate,
  type EncoderKind,
} from './encoder-isolate.ts'
import { answerCall, answerQuestion } from './inner-call.ts'

const TEXT: EncoderKind<TextModel> = {
  name: 'text-encoder',
  file: 'text',
  async load(kernels, manifest, source, isWanted) {
    // The tokenizer first: it is small, and only tensors take memory that has to be given back.
    const tokenizerJson = await readPackageJson(source, manifest.files.tokenizer, createSha256)
    const tokenizer = createTokenizer(tokenizerJson, manifest.text.vocabSize)
    const weights = await source.open(manifest.files.text)
    return { manifest, tokenizer, encoder: await loadTextEncoder(kernels, manifest, weights, createSha256, isWanted) }
  },
  warmUp(model) {
    const trace = { requestId: 'warm-up', traceparent: '' }
    const { vectors } = embedTexts(model, {
      items: [{ text: WARM_UP_TEXT }],
      output: 'projected',
      truncate: true,
      trace,
    })
    return vectors[0] ?? new Float32Array()
  },
  warmUpMacs: ({ manifest }) => sequenceMacs(manifest.text, WARM_UP_TOKENS),
  footprint: ({ encoder }) => encoder.footprint,
}

/** About as long as captions are. */
const WARM_UP_TEXT = 'a picture of a grey cat that sleeps on a wooden chair in the sun'
const WARM_UP_TOKENS = 17

// Made at the first call and kept: the weights are what the isolate is for.
let isolate: EncoderIsolate<TextModel> | undefined

export class TextEncoderService extends WorkerEntrypoint<EncoderEnv> implements TextEncoderWorker {
  readonly #keepAlive: KeepAlive = (work) => this.ctx.waitUntil(work)

  describe(): Promise<RpcResult<ModelManifest>> {
    return answerQuestion(this.ctx, TEXT.name, async () => await this.#isolate().manifest.get(this.#keepAlive))
  }

  ready(): Promise<RpcResult<EncoderReadiness>> {
    return answerQuestion(this.ctx, TEXT.name, async () => {
      const loaded = await this.#isolate().model.get(this.#keepAlive)
      return currentReadiness(loaded, loaded.model.encoder.kernels)
    })
  }

  embed(request: EmbedTextsRequest): Promise<RpcResult<EmbedTextsReply>> {
    return answerCall(this.ctx, { worker: TEXT.name, trace: request.trace, items: request.items.length }, () => {
      const { queue, model } = this.#isolate()
      return queue.run(async () => embedTexts((await model.get(this.#keepAlive)).model, request))
    })
  }

  #isolate(): EncoderIsolate<TextModel> {
    return (isolate ??= createEncoderIsolate(this.env, TEXT))
  }
}

export default {
  fetch: () => new Response(null, { status: 404 }),
} satisfies ExportedHandler

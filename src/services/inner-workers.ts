// The calls between the gateway and the Workers behind it: plain data in, plain data out.
// Knows nothing of Cloudflare; a service binding and an object in a test both fit these interfaces.

import type { ModelManifest } from '../flava/manifest.ts'
import type { RpcResult } from './rpc-result.ts'

/** projected: [H'] after the projection; cls: [H], token 0 after the final LayerNorm; hidden: [L, H], all tokens after it. */
export type EmbeddingOutput = 'projected' | 'cls' | 'hidden'

/** Follows one request through all Workers' logs. */
export interface CallTrace {
  requestId: string
  /** W3C Trace Context header value with the caller's span. */
  traceparent: string
}

export type TextItem = { text: string; textPair?: string } | { inputIds: number[] }

export interface EmbedTextsRequest {
  items: TextItem[]
  output: EmbeddingOutput
  /** false: an item longer than the model's maximum is refused. */
  truncate: boolean
  trace: CallTrace
}

/** Names the model that made a vector, so that vectors of different spaces never meet in one answer. */
export interface ModelIdentity {
  space: string
  weights: string
}

export interface EncodedVectors extends ModelIdentity {
  /** float32, row-major, one per item: [H'] for projected and cls, [L, H] for the per-token outputs. */
  vectors: Float32Array[]
  shapes: number[][]
}

export interface EmbedTextsReply extends EncodedVectors {
  /** inputTokens counts the text as it came, encodedTokens what the model read of it. */
  items: { inputTokens: number; encodedTokens: number; isTruncated: boolean }[]
}

export interface ResizeImagesRequest {
  images: Uint8Array[]
  /** Edge of the square result in pixels. */
  size: number
  trace: CallTrace
}

export interface ResizeImagesReply {
  /** uint8 [n, size, size, 3], RGB, rows from the top. */
  rgb: Uint8Array
  items: { width: number; height: number; format: string }[]
}

export interface EmbedImagesRequest {
  /** uint8 [count, S, S, 3], RGB, S being the model's image size. */
  rgb: Uint8Array
  count: number
  output: EmbeddingOutput
  trace: CallTrace
}

export interface EncoderReadiness extends ModelIdentity {
  /** Which build of the kernels this CPU runs, and what its integer sums run on. */
  build: string
  dotKind: string
  variant: string
  /** Linear memory as a whole, as far as it has grown. */
  memoryBytes: number
  weightBytes: number
  /** Most that passes so far have taken above the weights. */
  activationBytes: number
  /** The largest piece of a weight file that was in JavaScript's hands at once. */
  largestChunkBytes: number
  /** From the first request for the model to its weights being there and verified. */
  loadMs: number
  /** Production clocks stand still while a Worker computes: there it is 0. */
  warmUpMs: number
}

export interface PixelsReadiness {
  formats: string[]
  maxPixels: number
}

/** What the gateway must know of a model to answer for it without its weights. */
export type ModelDescription = ModelManifest

export interface TextEncoderWorker {
  /** The model by its manifest alone: loads no weights. */
  describe(): PromiseLike<RpcResult<ModelDescription>>
  ready(): PromiseLike<RpcResult<EncoderReadiness>>
  embed(request: EmbedTextsRequest): PromiseLike<RpcResult<EmbedTextsReply>>
}

export interface ImageEncoderWorker {
  ready(): PromiseLike<RpcResult<EncoderReadiness>>
  embed(request: EmbedImagesRequest): PromiseLike<RpcResult<EncodedVectors>>
}

export interface PixelsWorker {
  ready(): PromiseLike<RpcResult<PixelsReadiness>>
  resize(request: ResizeImagesRequest): PromiseLike<RpcResult<ResizeImagesReply>>
}

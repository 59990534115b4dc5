// The calls of one embedding request to the Workers behind the gateway: texts to their encoder, pictures through
// pixels to theirs. One call after the other on each side, so that a client that goes away stops what has not begun.

import { AppError, RemoteError, WorkerUnavailableError } from '../errors.ts'
import type { ModelManifest } from '../flava/manifest.ts'
import { imageMacs, imageTokens } from './cost.ts'
import { itemCharacters, itemMacs, type EmbedRequest } from './embed-request.ts'
import type { CallTrace, ModelIdentity, TextItem } from './inner-workers.ts'
import type { InnerWorkers } from './readiness.ts'
import { awaitRpc } from './rpc-result.ts'
import { callBudget, splitCalls, type CallItem } from './split-calls.ts'
import type { Stages } from './stages.ts'

/** One item's vector as the encoder gave it. */
export interface EncodedItem {
  /** float32 of `shape`: [H'] or [L, H]. */
  vector: Float32Array
  shape: number[]
  isTruncated: boolean
  /** Tokens of the item as it came; a picture counts its patches and [CLS]. */
  inputTokens: number
  /** Tokens that the model read. */
  encodedTokens: number
}

export interface CallContext {
  workers: InnerWorkers
  model: ModelManifest
  request: EmbedRequest
  /** MACs that one call of an encoder should stay below. */
  callMacs: number
  /** Once aborted, no further call begins. */
  signal: AbortSignal
  stages: Stages
  trace: CallTrace
  /** Is told of each call before it begins. */
  onCall: () => void
  /** Is told that an encoder holds another model than `model`. */
  onOtherModel: () => void
}

/** A picture of the request: `index` is its item's position there. */
export interface ImageBytes {
  index: number
  param: string
  bytes: Uint8Array
  /** What decoding it costs. */
  decodeMacs: number
}

interface Job<T> extends CallItem {
  index: number
  param: string
  payload: T
}

// Cloudflare allows 32 Worker invocations a request; a picture takes two (pixels, encoder), the model's description one.
const MAX_CALLS_PER_ENCODER = 10
// RPC payloads end at 32 MiB; what one call carries stays well below.
const MAX_CALL_BYTES = 16 * 1024 * 1024

/** Encodes the request's texts and token lists into `results`, at their items' positions. */
export async function encodeTexts(context: CallContext, results: EncodedItem[]): Promise<void> {
  const { request, trace } = context
  const { output, truncate } = request
  const jobs = textJobs(context)
  for (const call of splitJobs(jobs, context.callMacs)) {
    const items = call.map((job) => job.payload)
    const reply = await callWorker(context, 'text', call, () =>
      awaitRpc('text encoder', context.workers.textEncoder.embed({ items, output, truncate, trace })),
    )
    checkIdentity(reply, context)
    for (const [i, job] of call.entries()) {
      results[job.index] = { ...at(reply.items, i), vector: at(reply.vectors, i), shape: at(reply.shapes, i) }
    }
  }
}

/** Encodes pictures into `results`, at their items' positions. */
export async function encodeImages(
  context: CallContext,
  images: readonly ImageBytes[],
  results: EncodedItem[],
): Promise<void> {
  const { request, model, workers, trace } = context
  const tokens = imageTokens(model)
  const encodeMacs = imageMacs(model)
  const jobs = images.map(({ index, param, bytes, decodeMacs }) => ({
    index,
    param,
    payload: bytes,
    macs: encodeMacs + decodeMacs,
    bytes: bytes.byteLength,
  }))
  for (const call of splitJobs(jobs, context.callMacs)) {
    const pictures = call.map((job) => job.payload)
    const { rgb } = await callWorker(context, 'pixels', call, () =>
      awaitRpc('pixels', workers.pixels.resize({ images: pictures, size: model.preprocessing.size, trace })),
    )
    const reply = await callWorker(context, 'image', call, () =>
      awaitRpc('image encoder', workers.imageEncoder.embed({ rgb, count: call.length, output: request.output, trace })),
    )
    checkIdentity(reply, context)
    for (const [i, job] of call.entries()) {
      const counts = { isTruncated: false, inputTokens: tokens, encodedTokens: tokens }
      results[job.index] = { ...counts, vector: at(reply.vectors, i), shape: at(reply.shapes, i) }
    }
  }
}

function textJobs({ request, model }: CallContext): Job<TextItem>[] {
  const jobs: Job<TextItem>[] = []
  for (const [index, item] of request.items.entries()) {
    if (item.kind !== 'text' && item.kind !== 'tokens') continue
    const cost = { macs: itemMacs(item, model), bytes: 2 * itemCharacters(item) }
    jobs.push({ index, param: item.param, payload: toTextItem(item), ...cost })
  }
  return jobs
}

function toTextItem(
  item: { kind: 'text'; text: string; textPair?: string } | { kind: 'tokens'; inputIds: number[] },
): TextItem {
  if (item.kind === 'tokens') return { inputIds: item.inputIds }
  return item.textPair === undefined ? { text: item.text } : { text: item.text, textPair: item.textPair }
}

function splitJobs<T extends CallItem>(jobs: readonly T[], callMacs: number): T[][] {
  return splitCalls(jobs, callBudget(jobs, { callMacs, maxCalls: MAX_CALLS_PER_ENCODER, maxBytes: MAX_CALL_BYTES }))
}

/** Makes one call unless the request has ended, and gives an error about one item that item's place in the request. */
async function callWorker<T>(
  { signal, stages, onCall }: CallContext,
  stage: 'text' | 'pixels' | 'image',
  jobs: readonly { param: string }[],
  call: () => Promise<T>,
): Promise<T> {
  signal.throwIfAborted()
  onCall()
  try {
    return await stages.measure(stage, call)
  } catch (error) {
    const param = error instanceof AppError && error.index !== undefined ? jobs[error.index]?.param : undefined
    if (!(error instanceof AppError) || param === undefined) throw error
    // The field name that the other Worker knows it by gives way to the caller's.
    const message = `${param}: ${error.message.replace(/^(image|inputIds): /, '')}`
    throw new RemoteError({ ...error.toDetail(), message }, { param, cause: error })
  }
}

function checkIdentity(reply: ModelIdentity, { model, onOtherModel }: CallContext): void {
  if (reply.space === model.space && reply.weights === model.weights) return
  // A model is being rolled out, or only one encoder got it: vectors of two models must not share an answer.
  onOtherModel()
  throw new WorkerUnavailableError('an encoder holds another model than the one described; try again')
}

function at<T>(list: readonly T[], index: number): T {
  const value = list[index]
  if (value === undefined) throw new WorkerUnavailableError('a Worker answered with fewer items than it was given')
  return value
}

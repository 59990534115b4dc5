// One embedding request from checked items to finished vectors: placement, pictures, both encoders side by side,
// the output type. Knows no HTTP.

import { ClientClosedRequestError } from '../errors.ts'
import type { ModelManifest } from '../flava/manifest.ts'
import { decodeMacs } from './cost.ts'
import { checkEmbedRequest, itemMacs, type EmbedRequest } from './embed-request.ts'
import { encodeImages, encodeTexts, type CallContext, type EncodedItem, type ImageBytes } from './encoder-calls.ts'
import { collectPictures, type ImageFetching, type PictureSource } from './collect-pictures.ts'
import type { CallTrace, ModelIdentity } from './inner-workers.ts'
import type { ModelCatalog } from './model-catalog.ts'
import { placeEmbedding, type EdgeLimits, type Placement } from './placement.ts'
import type { InnerWorkers } from './readiness.ts'
import type { Stages } from './stages.ts'
import { normalizeRows, toInt8, toUbinary } from './vector-formats.ts'

/** `vector` is in the output type that was asked for; `shape` is that of the values, not of packed bytes. */
export type EmbeddedItem = Omit<EncodedItem, 'vector'> & { vector: Float32Array | Int8Array | Uint8Array }

export interface EmbedResult {
  identity: ModelIdentity
  placement: Placement
  items: EmbeddedItem[]
}

export interface EmbedDependencies {
  workers: InnerWorkers
  catalog: ModelCatalog
  limits: EdgeLimits
  /** MACs that one call of an encoder should stay below. */
  callMacs: number
  /** Absent where the deployment fetches no pictures. */
  imageFetching: ImageFetching | undefined
}

export interface EmbedContext {
  /** Aborts when the client goes away. */
  signal: AbortSignal
  stages: Stages
  trace: CallTrace
  /** Is told of each call of an inner Worker, before it begins. */
  onCall: () => void
}

/** @throws AppError; its param names the item it is about */
export async function embed(
  request: EmbedRequest,
  deps: EmbedDependencies,
  context: EmbedContext,
): Promise<EmbedResult> {
  const model = await context.stages.measure('model', () => deps.catalog.describe(request.model))
  checkEmbedRequest(request, model, deps.imageFetching !== undefined)
  // Ends the other encoder's remaining calls when one of them fails.
  const failure = new AbortController()
  const calls: CallContext = {
    ...context,
    workers: deps.workers,
    callMacs: deps.callMacs,
    model,
    request,
    signal: AbortSignal.any([context.signal, failure.signal]),
    onOtherModel: () => deps.catalog.forget(),
  }
  try {
    const results: EncodedItem[] = []
    const images = await collectImages(calls, deps.imageFetching)
    const placement = placeEmbedding(estimateMacs(request, model, images), deps.limits)
    await Promise.all([encodeTexts(calls, results), encodeImages(calls, images, results)])
    const items = results.map((item) => ({ ...item, vector: toOutputType(item, request) }))
    return { identity: { space: model.space, weights: model.weights }, placement, items }
  } catch (error) {
    failure.abort()
    throw context.signal.aborted ? new ClientClosedRequestError('the client went away', { cause: error }) : error
  }
}

function estimateMacs(request: EmbedRequest, model: ModelManifest, images: readonly ImageBytes[]): number {
  const encoding = request.items.reduce((sum, item) => sum + itemMacs(item, model), 0)
  return images.reduce((sum, image) => sum + image.decodeMacs, encoding)
}

async function collectImages(
  { request, stages, signal }: CallContext,
  fetching: EmbedDependencies['imageFetching'],
): Promise<ImageBytes[]> {
  const places: number[] = []
  const sources: PictureSource[] = []
  for (const [index, item] of request.items.entries()) {
    if (item.kind !== 'image' && item.kind !== 'imageUrl') continue
    places.push(index)
    sources.push(item)
  }
  const collect = (): Promise<Uint8Array[]> => collectPictures(sources, fetching, signal)
  const needsFetching = sources.some(({ kind }) => kind === 'imageUrl')
  const pictures = await (needsFetching ? stages.measure('fetch', collect) : collect())
  return pictures.map((bytes, i) => ({
    index: places[i] ?? 0,
    param: sources[i]?.param ?? '',
    bytes,
    decodeMacs: decodeMacs(bytes),
  }))
}

function toOutputType({ vector, shape }: EncodedItem, request: EmbedRequest): Float32Array | Int8Array | Uint8Array {
  const values = request.normalize ? normalizeRows(vector, shape.at(-1) ?? vector.length) : vector
  switch (request.outputDtype) {
    case 'float':
      return values
    case 'int8':
      return toInt8(values)
    case 'ubinary':
      return toUbinary(values)
  }
}

// The four interactive jobs: from checked items to what the worker is asked, and what the model must have been trained for.

import { InvalidInputError, ResponseTooLargeError } from '../errors.ts'
import { HeadNotTrainedError } from '../jobs/errors.ts'
import type { JobRecord } from '../jobs/job.ts'
import type { ClassifyInput, EmbeddingsInput, FillMaskInput, MatchInput } from '../jobs/job-work.ts'
import type { Head, InteractiveKind } from '../jobs/kinds.ts'
import { MAX_ANSWER_BYTES } from './answer-size.ts'
import { imageTokens, maxTextTokens } from './cost.ts'
import type { JobDependencies } from './job-dependencies.ts'
import { findJobModel, memoryMib, multimodalSpace, requireHead, type JobModel } from './job-models.ts'
import { encodePictures, type JobPicture } from './job-pictures.ts'
import type { ClassifyJob, EmbeddingsJob, FillMaskJob, MatchJob } from './job-requests.ts'
import { patchPositions, type MaskedPlaces } from './patch-grid.ts'
import { submitJob, type Attempt, type JobOrder } from './submit-job.ts'

export interface MultimodalContext {
  project: string
  model: string
  metadata: Record<string, string> | null
  maxRuntimeSeconds: number | undefined
  attempt: Attempt
  /** Aborts when the caller goes away, which ends the fetching of pictures and nothing after it. */
  signal: AbortSignal
}

export interface PairItem {
  text: string
  image: JobPicture
}
export interface AnyItem {
  text: string | null
  image: JobPicture | null
  param: string
}
export type MaskedItem = AnyItem & MaskedPlaces

/** Any of these trains the multimodal encoder as a whole. */
const MULTIMODAL_HEADS: readonly Head[] = ['itm', 'mmm_text', 'mmm_image', 'classification', 'regression']
const MASK_TOKEN = '[MASK]'
/** Digits of a float32 printed as a double, its comma included. */
const JSON_BYTES_PER_VALUE = 21
/** Whoever asked has long gone by then. */
const INTERACTIVE_DEADLINE_MS = 24 * 3_600_000

/** @throws HeadNotTrainedError, ResponseTooLargeError, and what every job's submission throws */
export async function submitEmbeddings(
  request: { items: PairItem[]; output: 'cls' | 'hidden'; normalize: boolean; encodingFormat: 'float' | 'base64' },
  context: MultimodalContext,
  deps: JobDependencies,
): Promise<JobRecord> {
  const model = await findJobModel(context.project, context.model, deps)
  requireHead(model, MULTIMODAL_HEADS, 'a fused embedding')
  if (request.output === 'hidden') checkHiddenSize(request.items, model)
  const { items, output, normalize, encodingFormat } = request
  const images = await encodePictures(
    items.map(({ image }) => image),
    deps.imageFetching,
    context.signal,
  )
  const input: EmbeddingsInput = {
    items: items.map(({ text }, i) => ({ text, image: images[i] ?? '' })),
    output,
    normalize,
  }
  const kept: EmbeddingsJob = { metadata: context.metadata, encodingFormat, space: await multimodalSpace(model) }
  return submit('multimodal.embeddings', { model, head: null, input, kept }, context, deps)
}

/**
 * @param request pictures and texts, each once; `pairs` by position in them
 * @throws HeadNotTrainedError, and what every job's submission throws
 */
export async function submitMatch(
  request: { images: JobPicture[]; texts: string[]; pairs: [image: number, text: number][]; form: MatchJob['form'] },
  context: MultimodalContext,
  deps: JobDependencies,
): Promise<JobRecord> {
  const model = await findJobModel(context.project, context.model, deps)
  requireHead(model, ['itm'], 'matching')
  const { texts, pairs, form } = request
  const images = await encodePictures(request.images, deps.imageFetching, context.signal)
  const input: MatchInput = { images, texts, pairs }
  const kept: MatchJob = { metadata: context.metadata, form, columns: texts.length }
  return submit('multimodal.match', { model, head: 'itm', input, kept }, context, deps)
}

/** @throws InvalidInputError for an item with nothing to fill in, HeadNotTrainedError, and what every submission throws */
export async function submitFillMask(
  request: { items: MaskedItem[]; topK: number },
  context: MultimodalContext,
  deps: JobDependencies,
): Promise<JobRecord> {
  const model = await findJobModel(context.project, context.model, deps)
  const side = model.base.image.imageSize / model.base.image.patchSize
  const heads = request.items.flatMap(maskedHeads)
  for (const head of new Set(heads)) requireHead(model, [head], MASKED_PARTS[head])
  const patches = request.items.map((item) => patchPositions(item, side, item.param))
  const images = await encodeOptional(request.items, context, deps)
  const items = request.items.map(({ text }, i) => ({
    text,
    image: images[i] ?? null,
    masked_patches: patches[i] ?? [],
  }))
  const input: FillMaskInput = { items, top_k: request.topK }
  const kept: FillMaskJob = { metadata: context.metadata, side }
  return submit('multimodal.fill_mask', { model, head: heads[0] ?? null, input, kept }, context, deps)
}

/** @throws HeadNotTrainedError for a model without a head of its own, and what every job's submission throws */
export async function submitClassify(
  request: { items: AnyItem[]; topK: number },
  context: MultimodalContext,
  deps: JobDependencies,
): Promise<JobRecord> {
  const model = await findJobModel(context.project, context.model, deps)
  if (model.fineTuned === null) {
    throw new HeadNotTrainedError(
      `model: ${model.id} classifies nothing by itself; fine-tune it with method supervised`,
      {
        param: 'model',
      },
    )
  }
  requireHead(model, ['classification', 'regression'], 'classifying')
  const images = await encodeOptional(request.items, context, deps)
  const items = request.items.map(({ text }, i) => ({ text, image: images[i] ?? null }))
  const input: ClassifyInput = { items, top_k: request.topK }
  const kept: ClassifyJob = { metadata: context.metadata }
  return submit('multimodal.classify', { model, head: null, input, kept }, context, deps)
}

function submit(
  kind: InteractiveKind,
  { model, head, input, kept }: { model: JobModel; head: Head | null; input: unknown; kept: Record<string, unknown> },
  { project, maxRuntimeSeconds, attempt }: MultimodalContext,
  deps: JobDependencies,
): Promise<JobRecord> {
  const order: JobOrder = {
    project,
    kind,
    model: model.ref,
    // A fine-tuned model's heads are known for sure; a base model's are the leasing worker's to confirm.
    head: model.fineTuned === null ? head : null,
    input,
    objects: model.objects,
    request: kept,
    minMemoryMib: memoryMib(model, 'inference'),
    maxRuntimeSeconds,
    deadlineMs: deps.nowMs() + INTERACTIVE_DEADLINE_MS,
  }
  return submitJob(order, attempt, deps)
}

type MaskedHead = 'mmm_text' | 'mlm' | 'mmm_image' | 'mim'
const MASKED_PARTS: Record<MaskedHead, string> = {
  mmm_text: 'filling in words beside a picture',
  mlm: 'filling in words of a text alone',
  mmm_image: 'filling in patches beside a text',
  mim: 'filling in patches of a picture alone',
}

/** The heads that an item is answered from. */
function maskedHeads({ text, image, cells, boxes, param }: MaskedItem): MaskedHead[] {
  const hasWords = text?.includes(MASK_TOKEN) ?? false
  const hasPatches = cells.length + boxes.length > 0
  if (hasPatches && image === null) {
    throw new InvalidInputError(`${param}: masked patches need an image`, { param })
  }
  if (!hasWords && !hasPatches) {
    throw new InvalidInputError(`${param}: expected ${MASK_TOKEN} in the text, or masked_patches or masked_boxes`, {
      param,
    })
  }
  const words: MaskedHead[] = hasWords ? [image === null ? 'mlm' : 'mmm_text'] : []
  const patches: MaskedHead[] = hasPatches ? [text === null ? 'mim' : 'mmm_image'] : []
  return [...words, ...patches]
}

/** base64 of the items' pictures at the items' positions; none where an item has none. */
async function encodeOptional(
  items: readonly AnyItem[],
  { signal }: MultimodalContext,
  { imageFetching }: JobDependencies,
): Promise<(string | undefined)[]> {
  const sources: JobPicture[] = []
  for (const { image } of items) if (image !== null) sources.push(image)
  const encoded = (await encodePictures(sources, imageFetching, signal)).values()
  return items.map(({ image }) => (image === null ? undefined : encoded.next().value))
}

function checkHiddenSize(items: readonly PairItem[], { base }: JobModel): void {
  const tokens = items.reduce((sum, { text }) => sum + 1 + imageTokens(base) + maxTextTokens(base, text.length), 0)
  const bytes = tokens * Math.max(base.text.hiddenSize, base.image.hiddenSize) * JSON_BYTES_PER_VALUE
  if (bytes <= MAX_ANSWER_BYTES) return
  throw new ResponseTooLargeError(
    `input: every token of these items would be up to ${bytes} bytes, more than the ${MAX_ANSWER_BYTES} of an answer; ` +
      'send fewer items, or ask for output cls',
    { param: 'input' },
  )
}

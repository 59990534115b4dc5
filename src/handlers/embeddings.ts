// POST /v1/embeddings: OpenAI's request and answer, with pictures; what that shape has no place for goes into x_flava.

import { Buffer } from 'node:buffer'
import type { z } from 'zod'
import { InvalidInputError, UnsupportedMediaTypeError } from '../errors.ts'
import { embed, type EmbedDependencies, type EmbeddedItem, type EmbedResult } from '../services/embed.ts'
import type { EmbedItem, EmbedRequest } from '../services/embed-request.ts'
import type { UsageMeter } from '../services/usage-meter.ts'
import type { OutputDtype } from '../services/vector-formats.ts'
import type { AppContext } from './context.ts'
import { parseItems } from './embeddings-input.ts'
import { JsonOptionsSchema, QueryOptionsSchema, type EmbeddingsResponse } from './embeddings-schema.ts'
import { parseField } from './parse-field.ts'
import { readBytes, readJson } from './request-body.ts'

type Options = z.infer<typeof JsonOptionsSchema>
type EncodingFormat = 'float' | 'base64'

const IMAGE_TYPES = ['image/png', 'image/jpeg', 'image/webp']
/** Digits of a float32 printed as a double, its comma included; small integers take up to four. */
const JSON_BYTES_PER_VALUE = { float: 21, int8: 5, ubinary: 4 / 8 } satisfies Record<OutputDtype, number>
const RAW_BYTES_PER_VALUE = { float: 4, int8: 1, ubinary: 1 / 8 } satisfies Record<OutputDtype, number>
const BASE64_GROWTH = 4 / 3

/** @throws AppError for everything that is wrong with the request */
export async function createEmbeddings(c: AppContext, deps: EmbedDependencies, meter: UsageMeter): Promise<Response> {
  const { stages, facts, signal, requestId, trace } = c.var
  const { options, items } = await stages.measure('parse', () => parseRequest(c, deps.catalog.ids[0] ?? ''))
  const encodingFormat = options.encoding_format ?? 'float'
  const request = toEmbedRequest(options, items, encodingFormat)
  Object.assign(facts, { items: items.length, calls: 0 })
  // Only a name of ours: an unknown one is the caller's text, and the log holds none.
  if (deps.catalog.ids.includes(request.model)) facts.model = request.model
  const result = await embed(request, deps, {
    signal,
    stages,
    trace: { requestId, traceparent: trace.traceparent },
    onCall: () => {
      facts.calls = (facts.calls ?? 0) + 1
    },
  })
  const body = toResponse(request, result, encodingFormat)
  facts.tokens = body.usage.total_tokens
  const images = items.filter(({ kind }) => kind === 'image' || kind === 'imageUrl').length
  c.executionCtx.waitUntil(meter.count(c.var.project, { requests: 1, tokens: body.usage.total_tokens, images }))
  c.header('x-flava-space', result.identity.space)
  c.header('x-flava-placement', `${result.placement.route}; ${result.placement.reason}`)
  return c.json(body)
}

async function parseRequest(c: AppContext, defaultModel: string): Promise<{ options: Options; items: EmbedItem[] }> {
  const contentType = c.req.header('content-type')?.split(';')[0]?.trim().toLowerCase() ?? ''
  if (contentType === 'application/json') {
    const body = await readJson(c)
    if (typeof body !== 'object' || body === null || Array.isArray(body)) {
      throw new InvalidInputError('expected a JSON object with model and input')
    }
    const options = parseField(JsonOptionsSchema, body, '')
    return { options, items: parseItems('input' in body ? body.input : undefined) }
  }
  if (IMAGE_TYPES.includes(contentType)) {
    const options = parseField(QueryOptionsSchema, c.req.query(), '')
    const items: EmbedItem[] = [{ kind: 'image', bytes: await readBytes(c), param: 'body' }]
    return { options: { ...options, model: options.model ?? defaultModel }, items }
  }
  throw new UnsupportedMediaTypeError(
    `content-type: expected application/json, ${IMAGE_TYPES.join(', ')}, got ${contentType === '' ? 'none' : 'another'}`,
  )
}

function toEmbedRequest(options: Options, items: EmbedItem[], encodingFormat: EncodingFormat): EmbedRequest {
  const outputDtype = options.output_dtype ?? 'float'
  return {
    model: options.model,
    items,
    output: options.output ?? 'projected',
    outputDtype,
    normalize: options.normalize ?? true,
    truncate: options.truncate ?? true,
    dimensions: options.dimensions ?? undefined,
    responseBytesPerValue:
      encodingFormat === 'base64'
        ? BASE64_GROWTH * RAW_BYTES_PER_VALUE[outputDtype]
        : JSON_BYTES_PER_VALUE[outputDtype],
  }
}

function toResponse(request: EmbedRequest, result: EmbedResult, encodingFormat: EncodingFormat): EmbeddingsResponse {
  const { identity, placement, items } = result
  const tokens = items.reduce((sum, item) => sum + item.encodedTokens, 0)
  return {
    object: 'list',
    data: items.map(({ vector }, index) => ({
      object: 'embedding',
      index,
      embedding: encodingFormat === 'base64' ? toBase64(vector) : Array.from(vector),
    })),
    model: request.model,
    usage: { prompt_tokens: tokens, total_tokens: tokens },
    x_flava: {
      space: identity.space,
      weights: identity.weights,
      placement,
      items: items.map(({ isTruncated, inputTokens, shape }, index) => ({
        index,
        truncated: isTruncated,
        input_tokens: inputTokens,
        ...(request.output === 'hidden' ? { shape } : {}),
      })),
    },
  }
}

/** Typed arrays lie in memory as little-endian bytes on every machine that WASM engines run on. */
function toBase64(vector: EmbeddedItem['vector']): string {
  return Buffer.from(vector.buffer, vector.byteOffset, vector.byteLength).toString('base64')
}

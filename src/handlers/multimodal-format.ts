// The result of an interactive job as its route answers it, at once or later within the job object.

import { Buffer } from 'node:buffer'
import type { z } from 'zod'
import { JOB_WORK } from '../jobs/job-work.ts'
import type { JobRecord } from '../jobs/job.ts'
import type { InteractiveKind } from '../jobs/kinds.ts'
import {
  EmbeddingsJobSchema,
  FillMaskJobSchema,
  MatchJobSchema,
  type EmbeddingsJob,
  type FillMaskJob,
  type MatchJob,
} from '../services/job-requests.ts'
import type {
  ClassifyResponse,
  FillMaskResponse,
  MatchResponse,
  MultimodalEmbeddingsResponse,
} from './multimodal-schema.ts'

export type MultimodalResponse = MultimodalEmbeddingsResponse | MatchResponse | FillMaskResponse | ClassifyResponse

type ResultOf<Kind extends InteractiveKind> = z.infer<(typeof JOB_WORK)[Kind]['result']>

/** @param result as the worker gave it; parsed here, since nothing else has */
export function formatResult(kind: InteractiveKind, job: JobRecord, result: unknown): MultimodalResponse {
  switch (kind) {
    case 'multimodal.embeddings':
      return formatEmbeddings(job, EmbeddingsJobSchema.parse(job.request), JOB_WORK[kind].result.parse(result))
    case 'multimodal.match':
      return formatMatch(job, MatchJobSchema.parse(job.request), JOB_WORK[kind].result.parse(result))
    case 'multimodal.fill_mask':
      return formatFillMask(job, FillMaskJobSchema.parse(job.request), JOB_WORK[kind].result.parse(result))
    case 'multimodal.classify':
      return formatClassify(job, JOB_WORK[kind].result.parse(result))
  }
}

function about({ id, modelId, usage }: JobRecord) {
  const { tokens, images, gpuSeconds } = usage
  return {
    object: 'list' as const,
    model: modelId,
    usage: { prompt_tokens: tokens, total_tokens: tokens, images },
    x_flava: { job: id, engine: 'gpu' as const, gpu_seconds: gpuSeconds },
  }
}

function formatEmbeddings(
  job: JobRecord,
  { space, encodingFormat }: EmbeddingsJob,
  { items }: ResultOf<'multimodal.embeddings'>,
): MultimodalEmbeddingsResponse {
  const { x_flava, ...common } = about(job)
  return {
    ...common,
    data: items.map(({ embedding }, index) => ({
      object: 'embedding',
      index,
      embedding: encodingFormat === 'base64' ? toBase64(embedding) : embedding,
    })),
    x_flava: {
      ...x_flava,
      space,
      items: items.map(({ embedding, text_tokens, image_tokens, is_truncated }, index) => ({
        index,
        truncated: is_truncated,
        text_tokens,
        image_tokens,
        shape: shapeOf(embedding),
      })),
    },
  }
}

function shapeOf(embedding: readonly (number | number[])[]): number[] {
  const [first] = embedding
  return typeof first === 'number' || first === undefined ? [embedding.length] : [embedding.length, first.length]
}

/** Typed arrays lie in memory as little-endian bytes on every machine that this runs on. */
function toBase64(embedding: readonly (number | number[])[]): string {
  const values = Float32Array.from(embedding.flat())
  return Buffer.from(values.buffer).toString('base64')
}

function formatMatch(
  job: JobRecord,
  { form, columns }: MatchJob,
  { scores }: ResultOf<'multimodal.match'>,
): MatchResponse {
  return { ...about(job), data: matchData(form, columns, scores) }
}

function matchData(form: MatchJob['form'], columns: number, scores: readonly number[]): MatchResponse['data'] {
  if (form === 'pairs') return scores.map((score, index) => ({ object: 'match', index, score }))
  if (form === 'matrix') {
    const rows = scores.length / columns
    return Array.from({ length: rows }, (_, index) => ({
      object: 'match.row',
      index,
      scores: scores.slice(index * columns, (index + 1) * columns),
    }))
  }
  // In the order of the candidates, so that an answer lines up with its request; `rank` says which is best.
  const order = [...scores.keys()].toSorted((a, b) => (scores[b] ?? 0) - (scores[a] ?? 0))
  const ranks = new Map(order.map((candidate, place) => [candidate, place + 1]))
  return scores.map((score, index) => ({ object: 'match', index, score, rank: ranks.get(index) ?? 0 }))
}

function formatFillMask(
  job: JobRecord,
  { side }: FillMaskJob,
  { items }: ResultOf<'multimodal.fill_mask'>,
): FillMaskResponse {
  const data = items.map(({ words, patches }, index) => ({
    object: 'fill_mask' as const,
    index,
    words,
    patches: patches.map(({ patch, candidates }) => ({
      row: Math.floor(patch / side),
      column: patch % side,
      candidates,
    })),
  }))
  return { ...about(job), data }
}

function formatClassify(job: JobRecord, { items }: ResultOf<'multimodal.classify'>): ClassifyResponse {
  const data = items.map((item, index) =>
    'labels' in item
      ? { object: 'classification' as const, index, labels: item.labels }
      : { object: 'regression' as const, index, value: item.value },
  )
  return { ...about(job), data }
}

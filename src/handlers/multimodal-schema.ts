// The wire form of POST /v1/multimodal/*: what is read, what is answered.

import { z } from 'zod'
import { MAX_PAIRS } from '../jobs/job-work.ts'
import { maxRuntimeSecondsOf } from '../jobs/kinds.ts'
import { ImageItemSchema, TextSchema } from './embeddings-schema.ts'
import { maxRuntimeSchema, MetadataSchema } from './job-options.ts'

const picture = ImageItemSchema.shape.image
const probability = z.number().min(0).max(1)
const MAX_MASKED_PLACES = 4096

const options = {
  model: z.string().meta({ description: 'A model id of GET /v1/models, fine-tuned ones included.' }),
  metadata: MetadataSchema.nullish(),
  user: z.string().nullish().meta({ description: 'Accepted for compatibility; neither stored nor logged.' }),
  x_flava: z
    .object({ max_runtime_seconds: maxRuntimeSchema(maxRuntimeSecondsOf('multimodal.match')).optional() })
    .nullish(),
}

/** One item or a list of them, as the OpenAPI document shows it; lists are parsed item by item. */
const inputOf = <Item extends z.ZodType>(item: Item) => z.union([item, z.array(item).min(1).max(MAX_PAIRS)])

export const PairSchema = z.object({ image: picture, text: TextSchema }).meta({ id: 'ImageTextPair' })

/** At least one of the two; the handler says which is missing. */
export const AnyItemSchema = z
  .object({ text: TextSchema.nullish(), image: picture.nullish() })
  .meta({ id: 'ImageOrText', description: 'A text, a picture, or both.' })

const share = z.number().min(0).max(1)
export const MaskedItemSchema = z
  .object({
    text: TextSchema.nullish().meta({ description: 'With [MASK] in place of each word to fill in.' }),
    image: picture.nullish(),
    masked_patches: z
      .array(z.tuple([z.int().min(0), z.int().min(0)]))
      .max(MAX_MASKED_PLACES)
      .nullish()
      .meta({ description: 'Patches to fill in, as [row, column] of the grid of patches.' }),
    masked_boxes: z
      .array(z.tuple([share, share, share, share]))
      .max(MAX_MASKED_PLACES)
      .nullish()
      .meta({
        description: 'Boxes [x0, y0, x1, y1] in shares of the picture: every patch that one touches is filled in.',
      }),
  })
  .meta({ id: 'MaskedItem' })

const OutputSchema = z.enum(['cls', 'hidden']).meta({
  description:
    'cls: the multimodal [CLS]. hidden: every token of the multimodal encoder: its [CLS], the picture’s [CLS] and patches, ' +
    'the text’s tokens.',
})

export const EmbeddingsOptionsSchema = z.object({
  ...options,
  output: OutputSchema.nullish(),
  normalize: z.boolean().nullish().meta({ description: 'Scale each vector to unit length; true by default.' }),
  encoding_format: z
    .enum(['float', 'base64'])
    .nullish()
    .meta({ description: 'float, by default: JSON numbers. base64: little-endian float32, row after row.' }),
})
export const MultimodalEmbeddingsRequestSchema = EmbeddingsOptionsSchema.extend({ input: inputOf(PairSchema) }).meta({
  id: 'MultimodalEmbeddingsRequest',
})

export const MatchOptionsSchema = z.object(options)
/** A side of a ranking: a text as it is or in an object, or a picture in an object. */
export const SideSchema = z
  .union([TextSchema, z.object({ text: TextSchema }), z.object({ image: picture })])
  .meta({ id: 'MatchSide' })
export const MatchRequestSchema = z
  .union([
    MatchOptionsSchema.extend({ pairs: z.array(PairSchema).min(1).max(MAX_PAIRS) }),
    MatchOptionsSchema.extend({
      query: SideSchema,
      candidates: z
        .array(SideSchema)
        .min(1)
        .max(MAX_PAIRS)
        .meta({ description: 'Of the other kind: pictures for a text, texts for a picture.' }),
    }),
    MatchOptionsSchema.extend({
      images: z.array(picture).min(1).max(MAX_PAIRS),
      texts: z.array(TextSchema).min(1).max(MAX_PAIRS),
    }),
  ])
  .meta({ id: 'MatchRequest', description: `Pairs, a ranking, or a matrix; at most ${MAX_PAIRS} pairs in all.` })

const topK = (most: number, byDefault: number) =>
  z
    .int()
    .min(1)
    .max(most)
    .nullish()
    .meta({ description: `How many candidates to tell; ${byDefault} by default.` })
export const DEFAULT_TOP_K = 5

export const FillMaskOptionsSchema = z.object({ ...options, top_k: topK(100, DEFAULT_TOP_K) })
export const FillMaskRequestSchema = FillMaskOptionsSchema.extend({ input: inputOf(MaskedItemSchema) }).meta({
  id: 'FillMaskRequest',
})

export const ClassifyOptionsSchema = z.object({ ...options, top_k: topK(1000, DEFAULT_TOP_K) })
export const ClassifyRequestSchema = ClassifyOptionsSchema.extend({ input: inputOf(AnyItemSchema) }).meta({
  id: 'ClassifyRequest',
})

const usage = z.object({ prompt_tokens: z.int(), total_tokens: z.int(), images: z.int() })
const about = {
  job: z.string().meta({ description: 'The job that made this: GET /v1/jobs/{id}.' }),
  engine: z.literal('gpu'),
  gpu_seconds: z.number(),
}

const answer = <Datum extends z.ZodType, More extends z.ZodRawShape>(id: string, datum: Datum, more: More) =>
  z
    .object({
      object: z.literal('list'),
      data: z.array(datum),
      model: z.string(),
      usage,
      x_flava: z.object({ ...about, ...more }),
    })
    .meta({ id })

export const MultimodalEmbeddingsResponseSchema = answer(
  'MultimodalEmbeddingsResponse',
  z.object({
    object: z.literal('embedding'),
    index: z.int(),
    embedding: z
      .union([z.array(z.number()), z.array(z.array(z.number())), z.string()])
      .meta({ description: 'One vector; with output hidden one a token; or base64 of either.' }),
  }),
  {
    space: z
      .string()
      .meta({ description: 'Vectors compare when and only when this is equal; not that of /v1/embeddings.' }),
    items: z.array(
      z.object({
        index: z.int(),
        truncated: z.boolean(),
        text_tokens: z.int(),
        image_tokens: z.int(),
        shape: z.array(z.int()),
      }),
    ),
  },
)

export const MatchResponseSchema = answer(
  'MatchResponse',
  z.union([
    z.object({
      object: z.literal('match'),
      index: z.int().meta({ description: 'Of the pair, or of the candidate.' }),
      score: probability.meta({ description: 'Probability that picture and text belong together.' }),
      rank: z.int().optional().meta({ description: 'In a ranking: 1 for the best candidate.' }),
    }),
    z.object({
      object: z.literal('match.row'),
      index: z.int().meta({ description: 'Of the picture.' }),
      scores: z.array(probability).meta({ description: 'One a text.' }),
    }),
  ]),
  {},
)

export const FillMaskResponseSchema = answer(
  'FillMaskResponse',
  z.object({
    object: z.literal('fill_mask'),
    index: z.int(),
    words: z.array(
      z.object({
        position: z.int().meta({ description: 'Among the text’s tokens, [CLS] being 0.' }),
        candidates: z.array(z.object({ token: z.string(), token_id: z.int(), score: probability })),
      }),
    ),
    patches: z.array(
      z.object({
        row: z.int(),
        column: z.int(),
        candidates: z.array(z.object({ codebook_id: z.int(), score: probability })),
      }),
    ),
  }),
  {},
)

export const ClassifyResponseSchema = answer(
  'ClassifyResponse',
  z.union([
    z.object({
      object: z.literal('classification'),
      index: z.int(),
      labels: z.array(z.object({ label: z.string(), score: probability })),
    }),
    z.object({ object: z.literal('regression'), index: z.int(), value: z.number() }),
  ]),
  {},
)

export type MultimodalEmbeddingsResponse = z.infer<typeof MultimodalEmbeddingsResponseSchema>
export type MatchResponse = z.infer<typeof MatchResponseSchema>
export type FillMaskResponse = z.infer<typeof FillMaskResponseSchema>
export type ClassifyResponse = z.infer<typeof ClassifyResponseSchema>

// The wire form of POST /v1/embeddings: what is read, what is answered. Schemas serve parsing and the OpenAPI document.

import { z } from 'zod'

export const MAX_ITEMS = 256
/** Longer texts are cut to a few dozen tokens anyway; the bound keeps tokenizing cheap. */
const MAX_TEXT_CHARACTERS = 1_000_000
/** Far beyond what a model reads; zod keeps one issue for each wrong element, so a longer list must not reach it. */
export const MAX_TOKEN_IDS = 65_536

const text = z.string().min(1).max(MAX_TEXT_CHARACTERS)

export const TextSchema = text.meta({ id: 'Text', description: 'A text.', examples: ['a cat on a chair'] })

export const TokenIdsSchema = z
  .array(z.int().min(0))
  .min(1)
  .max(MAX_TOKEN_IDS)
  .meta({
    id: 'TokenIds',
    description: "Token ids of the model's own tokenizer.json. [CLS] and [SEP] are added where they are missing.",
    examples: [[2, 417, 3]],
  })

export const TextItemSchema = z
  .object({ text, text_pair: text.optional().meta({ description: 'A second text, with token type 1.' }) })
  .meta({ id: 'TextItem', description: 'A text, or a pair of texts encoded as one sequence.' })

export const ImageItemSchema = z
  .object({
    image: z.string().min(1).meta({
      description:
        'PNG, JPEG or WebP as a data URI or as base64; an https URL where the deployment allows fetching (off by default).',
    }),
  })
  .meta({ id: 'ImageItem', description: 'A picture.' })

const ItemSchema = z.union([TextSchema, TokenIdsSchema, TextItemSchema, ImageItemSchema]).meta({ id: 'EmbeddingItem' })

const InputSchema = z
  .union([ItemSchema, z.array(ItemSchema).min(1).max(MAX_ITEMS)])
  .meta({ id: 'EmbeddingInput', description: `One item or up to ${MAX_ITEMS}, of any kinds, answered in order.` })

const OutputSchema = z.enum(['projected', 'cls', 'hidden']).meta({
  description:
    'projected: the retrieval vector, projection of token 0 after the final LayerNorm. cls: token 0 after the final ' +
    'LayerNorm, unprojected. hidden: all tokens after it, row after row; the shape is in x_flava.items.',
})
const OutputDtypeSchema = z.enum(['float', 'int8', 'ubinary']).meta({
  description:
    'float: float32. int8: round(127 x). ubinary: one bit a value, 1 where it is above zero, most significant bit first. ' +
    'int8 and ubinary need normalize true.',
})
const EncodingFormatSchema = z.enum(['float', 'base64']).meta({
  description: 'float: a JSON array of numbers. base64: the little-endian bytes of the output type.',
})
const dimensionsMeta = { description: "Accepted when it is the model's own; the vectors cannot be shortened." }
const normalizeMeta = { description: 'Scale each vector to unit length; with output hidden, each token’s.' }
const truncateMeta = { description: 'Cut texts longer than the model takes; false makes such a text an error.' }
const modelMeta = { description: 'A model id of GET /v1/models.', examples: ['flava-emoji'] }

/** Options in a JSON body. Null means absent, as some clients send it. */
export const JsonOptionsSchema = z.object({
  model: z.string().meta(modelMeta),
  encoding_format: EncodingFormatSchema.nullish(),
  dimensions: z.int().positive().nullish().meta(dimensionsMeta),
  output_dtype: OutputDtypeSchema.nullish(),
  output: OutputSchema.nullish(),
  normalize: z.boolean().nullish().meta(normalizeMeta),
  truncate: z.boolean().nullish().meta(truncateMeta),
  user: z.string().nullish().meta({ description: 'Accepted for compatibility; neither stored nor logged.' }),
})

const booleanText = z.enum(['true', 'false']).transform((value) => value === 'true')

/** The same options beside a raw image body, where only the query string is left for them. */
export const QueryOptionsSchema = z.object({
  model: z
    .string()
    .optional()
    .meta({ ...modelMeta, description: 'A model id of GET /v1/models; by default the first.' }),
  encoding_format: EncodingFormatSchema.optional(),
  dimensions: z.coerce.number().int().positive().optional().meta(dimensionsMeta),
  output_dtype: OutputDtypeSchema.optional(),
  output: OutputSchema.optional(),
  normalize: booleanText.optional().meta(normalizeMeta),
  truncate: booleanText.optional().meta(truncateMeta),
  user: z.string().optional(),
})

export const EmbeddingsRequestSchema = JsonOptionsSchema.extend({ input: InputSchema }).meta({
  id: 'EmbeddingsRequest',
})

export const EmbeddingsResponseSchema = z
  .object({
    object: z.literal('list'),
    data: z.array(
      z.object({
        object: z.literal('embedding'),
        index: z.int(),
        embedding: z.union([z.array(z.number()), z.string()]).meta({ description: 'Numbers, or base64.' }),
      }),
    ),
    model: z.string(),
    usage: z
      .object({ prompt_tokens: z.int(), total_tokens: z.int() })
      .meta({ description: 'Tokens that the model read; a picture counts its patches and one.' }),
    x_flava: z.object({
      space: z.string().meta({ description: 'Vectors compare when and only when this is equal.' }),
      weights: z.string().meta({ description: "SHA-256 of the package's tensors." }),
      placement: z.object({ route: z.literal('edge'), reason: z.string() }),
      items: z.array(
        z.object({
          index: z.int(),
          truncated: z.boolean(),
          input_tokens: z.int().meta({ description: 'Tokens of the item before truncation.' }),
          shape: z.array(z.int()).optional().meta({ description: 'With output hidden: [tokens, hidden size].' }),
        }),
      ),
    }),
  })
  .meta({ id: 'EmbeddingsResponse' })

export type EmbeddingsResponse = z.infer<typeof EmbeddingsResponseSchema>

// What each kind of job asks of a worker and what the worker answers: the `input` and the `result` of the worker protocol.
// Part of the same contract; pictures travel as base64 of the bytes that the caller sent.

import { z } from 'zod'
import { ObjectNameSchema } from './worker-protocol.ts'

const base64 = z.string().min(1)
const text = z.string()
const index = z.int().min(0)
const probability = z.number().min(0).max(1)

/** Pairs a call may score, and items the other multimodal routes take. */
export const MAX_PAIRS = 256

export const EmbeddingsInputSchema = z.object({
  items: z
    .array(z.object({ text, image: base64 }))
    .min(1)
    .max(MAX_PAIRS),
  output: z.enum(['cls', 'hidden']),
  normalize: z.boolean(),
})
const EmbeddingsResultSchema = z.object({
  items: z.array(
    z.object({
      embedding: z.union([z.array(z.number()), z.array(z.array(z.number()))]).meta({
        description: 'f32 [hidden_size] of the multimodal CLS, or [1 + image tokens + text tokens, hidden_size].',
      }),
      text_tokens: z.int(),
      image_tokens: z.int(),
      is_truncated: z.boolean(),
    }),
  ),
})

export const MatchInputSchema = z.object({
  images: z.array(base64).min(1).max(MAX_PAIRS),
  texts: z.array(text).min(1).max(MAX_PAIRS),
  pairs: z
    .array(z.tuple([index, index]))
    .min(1)
    .max(MAX_PAIRS)
    .meta({ description: '[image, text] by position.' }),
})
const MatchResultSchema = z.object({
  scores: z.array(probability).meta({ description: 'Probability that the pair matches, in the order of pairs.' }),
})

export const FillMaskInputSchema = z.object({
  items: z
    .array(
      z.object({
        text: text.nullable().meta({ description: 'With the tokenizer’s own [MASK] where words are to be filled in.' }),
        image: base64.nullable(),
        masked_patches: z.array(index).max(4096).meta({ description: 'Row-major positions in the patch grid.' }),
      }),
    )
    .min(1)
    .max(MAX_PAIRS),
  top_k: z.int().min(1).max(100),
})
const FillMaskResultSchema = z.object({
  items: z.array(
    z.object({
      words: z.array(
        z.object({
          position: z.int().meta({ description: 'Of the mask among the text’s tokens, [CLS] being 0.' }),
          candidates: z.array(z.object({ token: z.string(), token_id: z.int(), score: probability })),
        }),
      ),
      patches: z.array(
        z.object({
          patch: z.int(),
          candidates: z.array(z.object({ codebook_id: z.int(), score: probability })),
        }),
      ),
    }),
  ),
})

export const ClassifyInputSchema = z.object({
  items: z
    .array(z.object({ text: text.nullable(), image: base64.nullable() }))
    .min(1)
    .max(MAX_PAIRS),
  top_k: z.int().min(1).max(1000),
})
const ClassifyResultSchema = z.object({
  items: z.array(
    z.union([
      z.object({ labels: z.array(z.object({ label: z.string(), score: probability })) }),
      z.object({ value: z.number() }),
    ]),
  ),
})

export const BATCH_ENDPOINTS = [
  '/v1/embeddings',
  '/v1/multimodal/embeddings',
  '/v1/multimodal/match',
  '/v1/multimodal/fill-mask',
  '/v1/multimodal/classify',
] as const

export const BatchInputSchema = z.object({
  endpoint: z.enum(BATCH_ENDPOINTS),
  model: z.string(),
  input: ObjectNameSchema.meta({ description: 'The JSONL file, one of the job’s objects.' }),
  space: z.string().nullable().meta({ description: 'Of the model’s vectors, told in each answer.' }),
})
/** What a worker calls the files that a batch leaves. */
export const [BATCH_OUTPUT, BATCH_ERRORS] = ['output.jsonl', 'errors.jsonl'] as const
export const BatchResultSchema = z
  .object({ request_counts: z.object({ total: z.int(), completed: z.int(), failed: z.int() }) })
  .meta({
    description: `Beside it the outputs ${BATCH_OUTPUT} and ${BATCH_ERRORS}, either left out when it would be empty.`,
  })

const auto = z.literal('auto')
const trainingHyperparameters = {
  n_epochs: z.union([auto, z.int().min(1).max(1000)]).default('auto'),
  batch_size: z.union([auto, z.int().min(1).max(4096)]).default('auto'),
  learning_rate_multiplier: z.union([auto, z.number().positive().max(1000)]).default('auto'),
  checkpoint_every: z
    .union([auto, z.int().min(1)])
    .default('auto')
    .meta({ description: 'Steps.' }),
}
const supervised = z.strictObject({
  ...trainingHyperparameters,
  task: z.enum(['classification', 'regression']).default('classification'),
})
const contrastive = z.strictObject(trainingHyperparameters)
const pretrain = z.strictObject(trainingHyperparameters)
const linearProbe = z.strictObject({ l2: z.union([auto, z.number().min(0)]).default('auto') })

const withHyperparameters = <Type extends string, Shape extends z.ZodType>(type: Type, hyperparameters: Shape) =>
  z.object({ type: z.literal(type), [type]: z.object({ hyperparameters }).optional() })

/** OpenAI's `method`: {"type": "supervised", "supervised": {"hyperparameters": {…}}}. */
export const MethodSchema = z.discriminatedUnion('type', [
  withHyperparameters('supervised', supervised),
  withHyperparameters('contrastive', contrastive),
  withHyperparameters('linear_probe', linearProbe),
  withHyperparameters('pretrain', pretrain),
])

export const FineTuningInputSchema = z.object({
  method: z.discriminatedUnion('type', [
    z.object({ type: z.literal('supervised'), hyperparameters: supervised }),
    z.object({ type: z.literal('contrastive'), hyperparameters: contrastive }),
    z.object({ type: z.literal('linear_probe'), hyperparameters: linearProbe }),
    z.object({ type: z.literal('pretrain'), hyperparameters: pretrain }),
  ]),
  seed: z.int().min(0),
  training: ObjectNameSchema,
  validation: ObjectNameSchema.nullable(),
  media: z.array(ObjectNameSchema).max(16).meta({ description: 'Zip or tar archives of pictures named in the rows.' }),
})
export const FineTuningResultSchema = z.object({
  model_objects: z.array(ObjectNameSchema).min(1).meta({ description: 'Outputs that make up the checkpoint: model/…' }),
  heads: z.array(z.string()),
  labels: z.array(z.string()).nullable(),
  metrics: z.record(z.string(), z.number()),
  trained_tokens: z.int(),
})

/** Input and result schemas by kind of job. */
export const JOB_WORK = {
  'multimodal.embeddings': { input: EmbeddingsInputSchema, result: EmbeddingsResultSchema },
  'multimodal.match': { input: MatchInputSchema, result: MatchResultSchema },
  'multimodal.fill_mask': { input: FillMaskInputSchema, result: FillMaskResultSchema },
  'multimodal.classify': { input: ClassifyInputSchema, result: ClassifyResultSchema },
  batch: { input: BatchInputSchema, result: BatchResultSchema },
  fine_tuning: { input: FineTuningInputSchema, result: FineTuningResultSchema },
} as const

export type MatchInput = z.infer<typeof MatchInputSchema>
export type EmbeddingsInput = z.infer<typeof EmbeddingsInputSchema>
export type FillMaskInput = z.infer<typeof FillMaskInputSchema>
export type ClassifyInput = z.infer<typeof ClassifyInputSchema>
export type BatchInput = z.infer<typeof BatchInputSchema>
export type FineTuningInput = z.infer<typeof FineTuningInputSchema>

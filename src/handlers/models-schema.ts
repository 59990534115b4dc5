// The wire form of GET /v1/models: OpenAI's model object, with the package's facts in x_flava.

import { z } from 'zod'

const GeometrySchema = z.object({
  hidden_size: z.int(),
  num_hidden_layers: z.int(),
  num_attention_heads: z.int(),
  intermediate_size: z.int(),
})

export const ModelSchema = z
  .object({
    id: z.string(),
    object: z.literal('model'),
    created: z.int().meta({ description: 'Unix seconds; packages carry no date, so it is that of their format.' }),
    owned_by: z.string(),
    x_flava: z.object({
      space: z.string().meta({ description: 'Vectors compare when and only when this is equal.' }),
      weights: z.string().meta({ description: "SHA-256 of the package's tensors." }),
      checkpoint: z.string().meta({ description: 'SHA-256 of the checkpoint the package was made from.' }),
      license: z.string(),
      variant: z.string().meta({ description: "Which of the model's packages this is: default, small, ..." }),
      quantization: z.string().meta({
        description:
          'Schemes of the Linear layers, then that of the word embeddings: w6g64 is 6 bits with one scale for 64 ' +
          'inputs, w7 and w8 have one per output channel, e8 one per row. Activations are 8 bits per token.',
      }),
      dimensions: z.int().meta({ description: 'Length of a projected vector.' }),
      text: GeometrySchema.extend({ vocab_size: z.int(), max_length: z.int() }),
      image: GeometrySchema.extend({ image_size: z.int(), patch_size: z.int(), tokens: z.int() }),
    }),
  })
  .meta({ id: 'Model' })

export const FineTunedModelSchema = z
  .object({
    id: z.string().meta({ examples: ['ft:flava-emoji:my-suffix:0123456789ab'] }),
    object: z.literal('model'),
    created: z.int(),
    owned_by: z.string().meta({ description: 'The project whose job made it; others do not see it.' }),
    x_flava: z.object({
      base: z.string(),
      job: z.string().meta({ description: 'The fine-tuning job that made it.' }),
      method: z.string(),
      heads: z.array(z.string()).meta({ description: 'Trained parts, which say what routes it answers on.' }),
      labels: z.array(z.string()).nullable(),
      bytes: z.int().meta({ description: 'Of its checkpoint’s files.' }),
    }),
  })
  .meta({ id: 'FineTunedModel' })

export const ModelDeletedSchema = z
  .object({ id: z.string(), object: z.literal('model'), deleted: z.literal(true) })
  .meta({ id: 'ModelDeleted' })

export const ModelListSchema = z
  .object({ object: z.literal('list'), data: z.array(z.union([ModelSchema, FineTunedModelSchema])) })
  .meta({ id: 'ModelList' })

export type Model = z.infer<typeof ModelSchema>

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

export const ModelListSchema = z
  .object({ object: z.literal('list'), data: z.array(ModelSchema) })
  .meta({ id: 'ModelList' })

export type Model = z.infer<typeof ModelSchema>

// Reads what flava_gpu.parity wrote: token ids, pictures and the vectors fp32 PyTorch made of them.
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { z } from 'zod'
import { readTensors } from '../model/read-tensors.ts'
import type { FileTensor } from '../model/read-tensors.ts'

const ids = z.array(z.int().nonnegative())

const inputsSchema = z.object({
  checkpoint: z.string(),
  versions: z.object({ torch: z.string(), transformers: z.string() }),
  texts: z.array(z.object({ text: z.string(), inputIds: ids, tokenTypeIds: ids })),
  pictures: z.object({ procedural: z.int(), dev: z.int(), size: z.int(), sha256: z.string() }),
  detailed: z.object({ texts: ids, pictures: ids }),
  /** Inputs that every layer's state of token 0 was kept of. */
  layers: z.object({ texts: ids, pictures: ids }).default({ texts: [], pictures: [] }),
})

export type ParityInputs = z.infer<typeof inputsSchema>

export interface ParitySet {
  inputs: ParityInputs
  /**
   * `text.projected` and `image.projected` f32 [n, projectionSize]; `text.layers` and `image.layers` f32 [inputs,
   * numLayers + 1, hiddenSize]; `<kind>.<index>.cls|hidden|preNorm` for a few; `pictures` u8 [n, size, size, 3] when kept.
   */
  vectors: ReadonlyMap<string, FileTensor>
}

export async function readParitySet(directory: string): Promise<ParitySet> {
  return {
    inputs: inputsSchema.parse(JSON.parse(await readFile(join(directory, 'inputs.json'), 'utf8'))),
    vectors: await readTensors(join(directory, 'vectors.safetensors')),
  }
}

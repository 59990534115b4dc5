// The rivals' models must compute what ours does, or the comparison means nothing: their graphs, made from the embedded model's
// checkpoint, against the vectors that PyTorch made of it (gpu/scripts/make_embedding_goldens.py).
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { env, InferenceSession, Tensor } from 'onnxruntime-web'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { z } from 'zod'
import { openCheckpoint } from '../../bench/encoders/checkpoint-tensors.ts'
import type { CheckpointTensors } from '../../bench/encoders/checkpoint-tensors.ts'
import { imageGraph, OUTPUT_NAME, textGraph } from '../../bench/encoders/encoder-graph.ts'
import type { Precision } from '../../bench/encoders/encoder-graph.ts'
import { writeOnnxModel } from '../../bench/encoders/onnx-model.ts'
import type { Graph } from '../../bench/encoders/onnx-model.ts'
import { cosine } from '../../tools/export/similarity.ts'
import { flavaConfigSchema, toImageConfig, toTextConfig } from '../../src/flava/config.ts'
import { normalizePixels } from '../../src/image/normalize.ts'
import { readParitySet } from '../../tools/export/parity-inputs.ts'
import { floatValues, readTensors } from '../../tools/model/read-tensors.ts'
import { proceduralPictures } from '../flava/procedural-pictures.ts'

const CHECKPOINT = 'models/flava-emoji/checkpoint'
const FIXTURES = 'test/fixtures/flava'
/** Sums in another order than PyTorch's, over four blocks. */
const MAX_FP32_DIFFERENCE = 2e-5
/** Eight bits for weights and activations both. */
const MIN_INT8_COSINE = 0.999

const folder = mkdtempSync(join(tmpdir(), 'flava-graph-'))
const preprocessorSchema = z.object({ image_mean: z.array(z.number()), image_std: z.array(z.number()) })
const config = flavaConfigSchema.parse(readJson('checkpoint/config.json'))
let tensors: CheckpointTensors
let golden: Awaited<ReturnType<typeof readTensors>>

beforeAll(async () => {
  env.wasm.numThreads = 1
  tensors = await openCheckpoint(CHECKPOINT)
  golden = await readTensors(join(FIXTURES, 'vectors.safetensors'))
})

afterAll(async () => {
  await tensors.close()
  rmSync(folder, { recursive: true })
})

function readJson(file: string): unknown {
  return JSON.parse(readFileSync(join('models/flava-emoji', file), 'utf8'))
}

async function run(graph: Graph, name: string, input: Tensor): Promise<Float32Array> {
  const path = join(folder, 'model.onnx')
  let writtenBytes = 0
  await writeOnnxModel(path, graph, (count) => (writtenBytes += count))
  const bytes = readFileSync(path)
  expect(bytes).toHaveLength(writtenBytes)
  const session = await InferenceSession.create(bytes, { executionProviders: ['wasm'] })
  const data = (await session.run({ [name]: input }))[OUTPUT_NAME]?.data
  if (!(data instanceof Float32Array)) throw new Error('expected f32')
  return data
}

function expectGolden(output: Float32Array, name: string, precision: Precision): void {
  const expected = floatValues(golden, name)
  expect(output).toHaveLength(expected.length)
  expect(cosine(output, expected)).toBeGreaterThan(MIN_INT8_COSINE)
  if (precision === 'int8') return
  const difference = Math.max(...output.map((value, index) => Math.abs(value - (expected[index] ?? Number.NaN))))
  expect(difference).toBeLessThan(MAX_FP32_DIFFERENCE)
}

test.each(['fp32', 'int8'] as const)('the %s text graph gives the last hidden states of PyTorch', async (precision) => {
  const { inputs } = await readParitySet(FIXTURES)
  const graph = textGraph(tensors, toTextConfig(config.text_config), precision)
  const [, index = ''] = [...golden.keys()].map((name) => /^text\.(\d+)\.hidden$/.exec(name)).findLast(Boolean) ?? []
  const ids = inputs.texts[Number(index)]?.inputIds ?? []
  const output = await run(graph, 'input_ids', new Tensor('int64', BigInt64Array.from(ids, BigInt), [1, ids.length]))
  expectGolden(output, `text.${index}.hidden`, precision)
})

test.each(['fp32', 'int8'] as const)(
  'the %s image graph gives the last hidden states of PyTorch',
  async (precision) => {
    const { inputs } = await readParitySet(FIXTURES)
    const { size } = inputs.pictures
    const { image_mean: mean, image_std: std } = preprocessorSchema.parse(readJson('preprocessor_config.json'))
    const pixels = normalizePixels(proceduralPictures(1, size), 1, size, mean, std)
    const graph = imageGraph(tensors, toImageConfig(config.image_config), precision)
    const output = await run(graph, 'pixel_values', new Tensor('float32', pixels, [1, 3, size, size]))
    expectGolden(output, 'image.0.hidden', precision)
  },
)

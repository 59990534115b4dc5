// A second opinion by another runtime: both encoders as ONNX, exported here and now from the committed checkpoint, run
// through onnxruntime-web, must agree with PyTorch's vectors closely and with the quantized WASM engine to its gate.
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { env, InferenceSession, Tensor } from 'onnxruntime-web'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { normalizePixels } from '../../src/image/normalize.ts'
import { encodePictures, encodeTexts } from '../../tools/export/encode-all.ts'
import { readParitySet } from '../../tools/export/parity-inputs.ts'
import type { ParitySet } from '../../tools/export/parity-inputs.ts'
import { pairwiseCosines } from '../../tools/export/similarity.ts'
import { loadModel } from '../../tools/model/load-model.ts'
import type { LoadedModel } from '../../tools/model/load-model.ts'
import { floatRows } from '../../tools/model/read-tensors.ts'
import { PYTHON_ENV, VENV_PYTHON } from '../../tools/python-env.ts'
import { runCommand } from '../../tools/run-command.ts'
import { proceduralPictures } from './procedural-pictures.ts'

/** Two fp32 implementations of one graph; sums in another order cost about 1e-7. */
const FP32_MIN_COSINE = 0.99999
/** Of the embedded package; parity.test.ts holds it to the same. */
const MIN_COSINE = 0.9995
const TEXT_COUNT = 40
const PICTURE_COUNT = 40
const EXPORT_TIMEOUT_MS = 180_000

let directory: string
let set: ParitySet
let model: LoadedModel

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'flava-onnx-'))
  const args = ['-m', 'flava_gpu.onnx_export', '--checkpoint', 'models/flava-emoji/checkpoint', '--out', directory]
  const { exitCode, output } = await runCommand(VENV_PYTHON, args, { env: PYTHON_ENV })
  if (exitCode !== 0) throw new Error(`flava_gpu.onnx_export failed: ${output}`)
  set = await readParitySet('test/fixtures/flava')
  model = await loadModel('models/flava-emoji')
  env.wasm.numThreads = 1
}, EXPORT_TIMEOUT_MS)

afterAll(async () => {
  await rm(directory, { recursive: true })
})

async function session(file: string): Promise<InferenceSession> {
  return InferenceSession.create(await readFile(join(directory, file)), { executionProviders: ['wasm'] })
}

async function embeddings(of: InferenceSession, feeds: Record<string, Tensor>): Promise<Float32Array[]> {
  const data = (await of.run(feeds))['embeddings']
  if (!(data?.data instanceof Float32Array)) throw new Error('embeddings: expected f32')
  const values = data.data
  const size = data.dims[1] ?? 0
  return Array.from({ length: data.dims[0] ?? 0 }, (_, row) => values.slice(row * size, (row + 1) * size))
}

/** int64 [batch, longest], shorter rows filled up with zeros: [PAD] as an id, "not there" as a mask. */
function padded(rows: readonly (readonly number[])[]): Tensor {
  const seqLen = Math.max(...rows.map((row) => row.length))
  const data = new BigInt64Array(rows.length * seqLen)
  rows.forEach((row, index) => data.set(row.map(BigInt), index * seqLen))
  return new Tensor('int64', data, [rows.length, seqLen])
}

test(`text.onnx, padded and masked, agrees with PyTorch to ${FP32_MIN_COSINE} and with the engine to ${MIN_COSINE}`, async () => {
  // From the end, where the longest are, so that padding is real.
  const first = set.inputs.texts.length - TEXT_COUNT
  const texts = set.inputs.texts.slice(first)
  const vectors = await embeddings(await session('text.onnx'), {
    input_ids: padded(texts.map(({ inputIds }) => inputIds)),
    attention_mask: padded(texts.map(({ inputIds }) => inputIds.map(() => 1))),
    token_type_ids: padded(texts.map(({ tokenTypeIds }) => tokenTypeIds)),
  })
  const reference = floatRows(set.vectors, 'text.projected').slice(first)
  expect(Math.min(...pairwiseCosines(vectors, reference))).toBeGreaterThanOrEqual(FP32_MIN_COSINE)
  expect(Math.min(...pairwiseCosines(encodeTexts(model, texts), vectors))).toBeGreaterThanOrEqual(MIN_COSINE)
  for (const vector of vectors) expect(Math.hypot(...vector)).toBeCloseTo(1, 5)
})

test(`image.onnx agrees with PyTorch to ${FP32_MIN_COSINE} and with the engine to ${MIN_COSINE}`, async () => {
  const { size, mean, std } = model.manifest.preprocessing
  const pictures = proceduralPictures(PICTURE_COUNT, size)
  const pixelValues = normalizePixels(pictures, PICTURE_COUNT, size, mean, std)
  const vectors = await embeddings(await session('image.onnx'), {
    pixel_values: new Tensor('float32', pixelValues, [PICTURE_COUNT, 3, size, size]),
  })
  const reference = floatRows(set.vectors, 'image.projected').slice(0, PICTURE_COUNT)
  expect(Math.min(...pairwiseCosines(vectors, reference))).toBeGreaterThanOrEqual(FP32_MIN_COSINE)
  const engine = encodePictures(model, pictures, PICTURE_COUNT)
  expect(Math.min(...pairwiseCosines(engine, vectors))).toBeGreaterThanOrEqual(MIN_COSINE)
})

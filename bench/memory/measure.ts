// Memory of the Workers at flava-full's geometry, from the running ones: packages of meaningless codes in local R2, the
// fullest inputs through the gateway, then what each isolate holds. Shared by `npm run bench -- memory` and its test.
import { z } from 'zod'
import { createPngDecoder } from '../../src/image/png-decoder.ts'
import type { ModelManifest } from '../../src/flava/manifest.ts'
import { fullPackage, type FullPackage, type FullSchemes } from '../../test/flava/full-package.ts'
import { modules as imageDecoderModules } from '../../test/image/fixtures.ts'
import { largePng } from '../../test/image/large-pictures.ts'
import { freePort } from '../../test/free-port.ts'
import { startWorkers, type RunningWorkers } from '../../test/harness.ts'
import { makePicture, toBase64 } from '../../test/pictures.ts'
import { readIsolateHeap } from './isolate-heap.ts'

export interface MemoryRow {
  bench: 'memory'
  worker: 'text' | 'image' | 'pixels'
  geometry: 'flava-full'
  variant: string
  /** Linear memory as a whole, at its largest. */
  wasmBytes: number
  /** Of it: tensors. */
  weightBytes: number
  /** Of it: the most that a pass took above them. */
  activationBytes: number
  /** The isolate's heap and buffers after the requests, and the buffers that a request or the load holds at its peak. */
  jsBytes: number
}

export interface EncoderMemory {
  rows: MemoryRow[]
  /** Encoders whose Worker refused the package, with its reason. */
  refusals: string[]
}

/** The exporter's variants (gpu/flava_gpu/variants.py); what small has by allocation, 4.5 bits a weight, uniformly here. */
const SMALL_SCHEMES: FullSchemes = { text: 'w4g32', words: 'e6', image: 'w4g32' }
export const VARIANTS: Readonly<Record<string, FullSchemes>> = {
  default: { text: 'w6g64', words: 'e8', image: 'w7' },
  small: SMALL_SCHEMES,
  w7: { text: 'w7', words: 'e8', image: 'w7' },
}

const MODEL_ID = 'flava-emoji'
const CONFIG_KEY = 'models/full/config.json'
const FULL_TEXT_TOKENS = 77
const TEXTS_AT_ONCE = 24
const F32_BYTES = 4
/** 12.6 megapixels: src/image/decode-memory.ts. */
const LARGEST_PICTURE = [4096, 3072] as const
/** Filters, a row and its sums, the result: at most, at 224 pixels. */
const RESIZE_BYTES = 2 * 1024 * 1024
/** [CLS] and [SEP] are added to what is sent. */
const TOKEN_IDS = Array.from({ length: FULL_TEXT_TOKENS - 2 }, (_, index) => 1000 + 37 * index)

const readySchema = z.object({
  status: z.literal('READY'),
  memory_bytes: z.int(),
  weight_bytes: z.int(),
  activation_bytes: z.int(),
})
const refusedSchema = z.object({ status: z.literal('UNHEALTHY'), code: z.string(), message: z.string() })
const encoderSchema = z.discriminatedUnion('status', [readySchema, refusedSchema])
const readinessSchema = z.object({ workers: z.object({ text_encoder: encoderSchema, image_encoder: encoderSchema }) })
const modelLineSchema = z.object({ worker: z.string(), largestChunkBytes: z.int() })

type Encoder = 'text' | 'image'
type EncoderState = z.infer<typeof encoderSchema>

/**
 * Times that the fullest inputs are sent and the heap is read. The least counts: the rest is what V8 had not yet collected, up to
 * several MiB by chance, and would collect before an isolate ran out of memory. What a request holds at its fullest is added.
 */
const HEAP_ROUNDS = 4

/** Loads one variant into fresh Workers, sends the fullest inputs and reads the figures. */
export async function measureEncoders(variant: string, schemes: FullSchemes): Promise<EncoderMemory> {
  const inspectorPort = await freePort()
  const workers = await startWorkers({
    inspectorPort,
    r2: { configKey: CONFIG_KEY },
    // All items of a request in one call, so that a call's passes are cut by memory alone.
    vars: { 'flava-edge': { CALL_GMAC: '1000', CPU_LIMIT_MS: '300000' } },
  })
  try {
    const pack = fullPackage(variant, schemes)
    await upload(workers, pack)
    const heaps = new Map<Encoder, number>()
    for (let round = 0; round < HEAP_ROUNDS; round += 1) {
      await sendFullInputs(workers, await readStates(workers))
      for (const [worker, state] of await readStates(workers)) {
        if (state.status === 'UNHEALTHY') continue
        const { heapBytes, bufferBytes } = await readIsolateHeap(inspectorPort, `flava-edge-${worker}`)
        heaps.set(worker, Math.min(heaps.get(worker) ?? Number.POSITIVE_INFINITY, heapBytes + bufferBytes))
      }
    }
    const measured: EncoderMemory = { rows: [], refusals: [] }
    for (const [worker, state] of await readStates(workers)) {
      if (state.status === 'UNHEALTHY') {
        measured.refusals.push(`${variant}: ${worker}: ${state.code}: ${state.message}`)
        continue
      }
      const peakBytes = Math.max(largestChunk(workers, worker), requestBytes(pack.manifest, worker))
      measured.rows.push({
        bench: 'memory',
        worker,
        geometry: 'flava-full',
        variant,
        wasmBytes: state.memory_bytes,
        weightBytes: state.weight_bytes,
        activationBytes: state.activation_bytes,
        jsBytes: (heaps.get(worker) ?? Number.NaN) + peakBytes,
      })
    }
    return measured
  } finally {
    await workers.stop()
  }
}

async function readStates(workers: RunningWorkers): Promise<ReadonlyMap<Encoder, EncoderState>> {
  const readiness = await workers.fetch('/readyz')
  const { text_encoder: text, image_encoder: image } = readinessSchema.parse(await readiness.json()).workers
  return new Map([
    ['text', text],
    ['image', image],
  ])
}

/** The largest picture that is taken by default, through the pixels Worker; its decoder once more in Node, to be asked. */
export async function measurePixels(): Promise<MemoryRow> {
  const inspectorPort = await freePort()
  const file = largePng(...LARGEST_PICTURE, 'rgba')
  const decoder = createPngDecoder(imageDecoderModules.png)
  decoder.decode(file, () => undefined)
  const workers = await startWorkers({ inspectorPort, r2: { configKey: CONFIG_KEY } })
  try {
    await upload(workers, fullPackage('small', SMALL_SCHEMES))
    await send(workers, { image: toBase64(file) }, 'projected')
    const { heapBytes, bufferBytes } = await readIsolateHeap(inspectorPort, 'flava-edge-pixels')
    return {
      bench: 'memory',
      worker: 'pixels',
      geometry: 'flava-full',
      variant: `png ${LARGEST_PICTURE.join('x')}`,
      wasmBytes: decoder.memoryBytes(),
      weightBytes: 0,
      activationBytes: 0,
      jsBytes: heapBytes + bufferBytes + file.length + RESIZE_BYTES,
    }
  } finally {
    await workers.stop()
  }
}

async function upload(workers: RunningWorkers, { config, files }: FullPackage): Promise<void> {
  const bucket = await workers.modelBucket()
  await bucket.put(CONFIG_KEY, config)
  for (const [sha256, bytes] of files) await bucket.put(`sha256/${sha256}`, bytes)
}

/** One text of full length, many of them at once, one picture, two, and the output that is largest. */
async function sendFullInputs(workers: RunningWorkers, states: ReadonlyMap<Encoder, EncoderState>): Promise<void> {
  const image = { image: toBase64(await makePicture('png', 224)) }
  const inputs = { text: [[TOKEN_IDS], Array(TEXTS_AT_ONCE).fill(TOKEN_IDS)], image: [image, [image, image]] }
  for (const encoder of ['text', 'image'] as const) {
    if (states.get(encoder)?.status !== 'READY') continue
    for (const input of inputs[encoder]) {
      for (const output of ['projected', 'hidden']) await send(workers, input, output)
    }
  }
}

async function send(workers: RunningWorkers, input: unknown, output: string): Promise<void> {
  const response = await workers.fetch('/v1/embeddings', {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ model: MODEL_ID, input, output, encoding_format: 'base64' }),
  })
  if (response.status !== 200) throw new Error(`expected 200, got ${response.status}: ${await response.text()}`)
  await response.arrayBuffer()
}

function largestChunk(workers: RunningWorkers, worker: Encoder): number {
  const line = workers.logLines.find((entry) => entry['event'] === 'model' && entry['worker'] === `${worker}-encoder`)
  return modelLineSchema.parse(line).largestChunkBytes
}

/** What the largest of the requests holds in JavaScript at once: pictures as bytes and as pixelValues, and the outputs. */
function requestBytes({ image, text }: ModelManifest, worker: Encoder): number {
  if (worker === 'text') return TEXTS_AT_ONCE * FULL_TEXT_TOKENS * text.hiddenSize * F32_BYTES
  const pictures = 2
  const pixelBytes = image.numChannels * image.imageSize ** 2 * (1 + F32_BYTES)
  return pictures * (pixelBytes + (image.numPatches + 1) * image.hiddenSize * F32_BYTES)
}

// onnxruntime-web and onnxruntime-node on one thread each, from bench/peers.
import { createRequire } from 'node:module'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import type * as ort from 'onnxruntime-web'
import { z } from 'zod'
import type { Contestant, Engine } from './contestant.ts'
import { OUTPUT_NAME } from './encoder-graph.ts'
import type { Precision } from './encoder-graph.ts'
import type { EncoderInput } from './inputs.ts'
import { PEERS_DIR, peerModelPath } from './peer-models.ts'
import type { Modality } from './peer-models.ts'

/** Both packages have onnxruntime-common's interface. */
type Runtime = Pick<typeof ort, 'InferenceSession' | 'Tensor' | 'env'>
type RivalEngine = Exclude<Engine, 'flava-edge'>

const requirePeer = createRequire(join(PEERS_DIR, 'package.json'))
const WEB_BUNDLE = 'onnxruntime-web/dist/ort.wasm.bundle.min.mjs'
/** Warnings of one thread where the machine has more are not news. */
const LOG_LEVEL = 'error'

/** The versions that are installed. */
export async function peerVersions(): Promise<Record<RivalEngine, string>> {
  const version = async (name: string) => {
    const text = await readFile(join(PEERS_DIR, 'node_modules', name, 'package.json'), 'utf8')
    return z.object({ version: z.string() }).parse(JSON.parse(text)).version
  }
  return { 'onnxruntime-web': await version('onnxruntime-web'), 'onnxruntime-node': await version('onnxruntime-node') }
}

export async function loadRivals(modality: Modality): Promise<Contestant[]> {
  const rivals: Contestant[] = []
  for (const engine of ['onnxruntime-web', 'onnxruntime-node'] as const) {
    for (const precision of ['int8', 'fp32'] as const) rivals.push(await loadRival(engine, modality, precision))
  }
  return rivals
}

async function loadRival(engine: RivalEngine, modality: Modality, precision: Precision): Promise<Contestant> {
  const runtime = await loadRuntime(engine)
  const path = peerModelPath(modality, precision)
  const options: ort.InferenceSession.SessionOptions = {
    executionProviders: [engine === 'onnxruntime-web' ? 'wasm' : 'cpu'],
    graphOptimizationLevel: 'all',
    intraOpNumThreads: 1,
    interOpNumThreads: 1,
    executionMode: 'sequential',
    logSeverityLevel: 3,
  }
  const session = await (engine === 'onnxruntime-web'
    ? runtime.InferenceSession.create(new Uint8Array(await readFile(path)), options)
    : runtime.InferenceSession.create(path, options))
  const feeds = new Map<EncoderInput, Record<string, ort.Tensor>>()
  const run = async (input: EncoderInput) => {
    const feed = feeds.get(input) ?? makeFeed(runtime, input)
    feeds.set(input, feed)
    return await session.run(feed)
  }
  return {
    engine,
    variant: precision,
    runtime: 'node',
    work: 'hidden',
    async encode(input) {
      const data = (await run(input))[OUTPUT_NAME]?.data
      if (!(data instanceof Float32Array)) throw new Error(`${engine} ${precision}: expected f32 ${OUTPUT_NAME}`)
      return data.slice()
    },
    async time(input) {
      const startMs = performance.now()
      await run(input)
      return performance.now() - startMs
    },
  }
}

async function loadRuntime(engine: RivalEngine): Promise<Runtime> {
  const isWeb = engine === 'onnxruntime-web'
  const path = isWeb ? join(PEERS_DIR, 'node_modules', WEB_BUNDLE) : requirePeer.resolve(engine)
  const module: Runtime & { default?: Runtime } = await import(pathToFileURL(path).href)
  // onnxruntime-node is CommonJS.
  const runtime = isWeb ? module : (module.default ?? module)
  runtime.env.logLevel = LOG_LEVEL
  if (isWeb) runtime.env.wasm.numThreads = 1
  return runtime
}

function makeFeed({ Tensor }: Runtime, input: EncoderInput): Record<string, ort.Tensor> {
  if (input.kind === 'text') {
    const ids = BigInt64Array.from(input.inputIds, BigInt)
    return { input_ids: new Tensor('int64', ids, [1, ids.length]) }
  }
  const side = Math.sqrt(input.pixelValues.length / 3)
  return { pixel_values: new Tensor('float32', input.pixelValues, [1, 3, side, side]) }
}

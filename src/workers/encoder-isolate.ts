// What both encoder Workers keep for the life of their isolate: the queue, the linear memory, the model in it.

import relaxedSimd from '../../build/wasm/relaxed.wasm'
import simd128 from '../../build/wasm/simd128.wasm'
import { ModelContentError } from '../errors.ts'
import type { ModelManifest } from '../flava/manifest.ts'
import { loadManifest, type PackageSource } from '../flava/package-source.ts'
import { expectWanted, type IsWanted, type WeightFootprint } from '../flava/weights.ts'
import { createSha256 } from '../platform/digest.ts'
import type { EncoderReadiness } from '../services/inner-workers.ts'
import { createLoadOnce, type LoadAttempt, type LoadOnce } from '../services/load-once.ts'
import type { RequestQueue } from '../services/request-queue.ts'
import type { ArenaMark } from '../wasm/arena.ts'
import { createKernels, type Kernels } from '../wasm/kernels.ts'
import { MAX_MEMORY_BYTES } from './encoder-memory.ts'
import { createIsolateQueue } from './inner-call.ts'
import { openPackage, type PackageEnv } from './package-source.ts'

export interface EncoderEnv extends PackageEnv {
  MAX_QUEUE: string
}

/** What the two Workers do differently. */
export interface EncoderKind<Model> {
  name: string
  file: 'text' | 'image'
  /** Puts the encoder's tensors into the kernels' memory, as long as it is wanted there. */
  load(kernels: Kernels, manifest: ModelManifest, source: PackageSource, isWanted: IsWanted): Promise<Model>
  /** One pass over an input like those to come, its vector, and what it costs. */
  warmUp(model: Model): Float32Array
  warmUpMacs(model: Model): number
  footprint(model: Model): WeightFootprint
}

export interface LoadedModel<Model> {
  model: Model
  readiness: EncoderReadiness
}

export interface EncoderIsolate<Model> {
  queue: RequestQueue
  manifest: LoadOnce<ModelManifest>
  model: LoadOnce<LoadedModel<Model>>
}

/**
 * V8 begins with its baseline compiler and counts down to the optimizing one by work done. Measured in workerd, pass by
 * pass: at flava-full's size the second is warm already (texts 89, 65, 68, 62 ms; pictures 503, 495, 485 ms on a busy
 * core), at the embedded model's the sixth is (texts 4, 6, 5, 1, 1; pictures 10, 6, 2, 2, 2 ms).
 */
const WARM_UP_MACS = 4e9
const [MIN_WARM_UP_PASSES, MAX_WARM_UP_PASSES] = [2, 6]

/** @throws MisconfiguredError */
export function createEncoderIsolate<Model>(env: EncoderEnv, kind: EncoderKind<Model>): EncoderIsolate<Model> {
  const source = openPackage(env)
  // One for all attempts to load: a second memory of this size beside the first would not fit the isolate.
  let memory: EncoderMemory | undefined
  const clock = { now: () => Date.now(), wait: (delayMs: number) => scheduler.wait(delayMs) }
  const manifest = createLoadOnce(() => loadManifest(source, createSha256), clock)
  const loadModel = async ({ keepAlive, isWanted }: LoadAttempt): Promise<LoadedModel<Model>> => {
    const startedAt = performance.now()
    try {
      const described = await manifest.get(keepAlive)
      const { name } = described.files[kind.file]
      expectWanted(name, isWanted)
      memory ??= createMemory()
      const { kernels } = memory
      // Whatever an attempt before this one has left behind, weights that could not be warmed up among it.
      kernels.arena.release(memory.empty)
      const loaded = await kind.load(kernels, described, source, isWanted)
      const loadedAt = performance.now()
      checkVector(name, await warmUp(kind, loaded, () => expectWanted(name, isWanted)))
      const timing = { loadMs: loadedAt - startedAt, warmUpMs: performance.now() - loadedAt }
      const readiness = readinessOf(kernels, described, kind.footprint(loaded), timing)
      console.log(JSON.stringify({ event: 'model', worker: kind.name, ...readiness }))
      return { model: loaded, readiness }
    } catch (error) {
      // What failed may have been mended by another package under the same name.
      manifest.forget()
      throw error
    }
  }
  // Wrong content shows when all of it, 88 MiB for flava-full's text, has been read; other failures come before that.
  const isCostly = (error: unknown): boolean => error instanceof ModelContentError
  const model = createLoadOnce(loadModel, { ...clock, isCostly })
  return { queue: createIsolateQueue(kind.name, env.MAX_QUEUE), manifest, model }
}

interface EncoderMemory {
  kernels: Kernels
  /** Before any weights. */
  empty: ArenaMark
}

function createMemory(): EncoderMemory {
  const kernels = createKernels({ relaxedSimd, simd128 }, { maxBytes: MAX_MEMORY_BYTES })
  return { kernels, empty: kernels.arena.mark() }
}

/** The figures as they are now; memory may have grown since the model was loaded. */
export function currentReadiness({ readiness }: LoadedModel<unknown>, { memory, arena }: Kernels): EncoderReadiness {
  return {
    ...readiness,
    memoryBytes: memory.buffer.byteLength,
    activationBytes: arena.highWaterBytes - arena.usedBytes,
  }
}

/**
 * @param beforePass throws when the memory is another load's by now
 * @returns the vector of the last pass
 */
async function warmUp<Model>(kind: EncoderKind<Model>, model: Model, beforePass: () => void): Promise<Float32Array> {
  let vector: Float32Array = new Float32Array()
  const wanted = Math.ceil(WARM_UP_MACS / kind.warmUpMacs(model))
  const passes = Math.min(Math.max(wanted, MIN_WARM_UP_PASSES), MAX_WARM_UP_PASSES)
  for (let pass = 0; pass < passes; pass += 1) {
    beforePass()
    vector = kind.warmUp(model)
    // The optimizing compiler runs beside this thread; its results are taken over between passes.
    await scheduler.wait(0)
  }
  return vector
}

/** A hash vouches for bytes, not for what they mean: weights of NaN would be answered as nulls. */
function checkVector(file: string, vector: Float32Array): void {
  const largest = vector.reduce((max, value) => Math.max(max, Math.abs(value)), 0)
  if (Number.isFinite(largest) && largest > 0) return
  throw new ModelContentError(`${file}: vector of the warm-up: expected finite numbers that are not all 0`)
}

function readinessOf(
  kernels: Kernels,
  { variant, space, weights }: ModelManifest,
  { weightBytes, largestChunkBytes }: WeightFootprint,
  timing: Pick<EncoderReadiness, 'loadMs' | 'warmUpMs'>,
): EncoderReadiness {
  const { build, dotKind, memory, arena } = kernels
  return {
    build,
    dotKind,
    variant,
    space,
    weights,
    memoryBytes: memory.buffer.byteLength,
    weightBytes,
    activationBytes: arena.highWaterBytes - arena.usedBytes,
    largestChunkBytes,
    ...timing,
  }
}

// Our engine as contestants, in this process: each package's encoder in a linear memory of its own.
import { encodeImage } from '../../src/flava/image-encoder.ts'
import { encodeText } from '../../src/flava/text-encoder.ts'
import { MAX_BENCH_MEMORY_BYTES } from './bench-memory.ts'
import { loadImageModel, loadTextModel } from '../../tools/model/load-model.ts'
import type { DotKind, KernelBuild } from '../../src/wasm/kernels.ts'
import type { Contestant, Work } from './contestant.ts'
import type { EncoderInput } from './inputs.ts'
import type { Modality } from './peer-models.ts'

export interface PackageChoice {
  /** The name that the lines carry: the package's own variant, or `simd128` for the plain build of the default one. */
  variant: string
  directory: string
  build?: KernelBuild
}

export interface LoadedPackage {
  variant: string
  build: KernelBuild
  dotKind: DotKind
  run: (input: EncoderInput, work: Work) => Float32Array
}

export async function loadPackage(
  { variant, directory, build }: PackageChoice,
  modality: Modality,
): Promise<LoadedPackage> {
  const options = { maxBytes: MAX_BENCH_MEMORY_BYTES, ...(build === undefined ? {} : { build }) }
  if (modality === 'text') {
    const { text, kernels } = await loadTextModel(directory, options)
    const run = (input: EncoderInput, work: Work) => {
      if (input.kind !== 'text') throw new Error(`${input.shape}: expected a text for the text encoder`)
      return encodeText(text, [{ inputIds: input.inputIds }], work)[0]?.data ?? new Float32Array()
    }
    return { variant, build: kernels.build, dotKind: kernels.dotKind, run }
  }
  const { image, kernels } = await loadImageModel(directory, options)
  const run = (input: EncoderInput, work: Work) => {
    if (input.kind !== 'image') throw new Error(`${input.shape}: expected a picture for the image encoder`)
    return encodeImage(image, input.pixelValues, 1, work)[0]?.data ?? new Float32Array()
  }
  return { variant, build: kernels.build, dotKind: kernels.dotKind, run }
}

export function asContestant({ variant, run }: LoadedPackage, work: Work): Contestant {
  return {
    engine: 'flava-edge',
    variant,
    runtime: 'node',
    work,
    encode: async (input) => run(input, work),
    async time(input) {
      const startMs = performance.now()
      run(input, work)
      return performance.now() - startMs
    },
  }
}

// The bound on a pass's memory against what the arena really gave, and splitPasses held to it.
import { beforeAll, expect, test } from 'vitest'
import { encodeImage, loadImageEncoder } from '../../src/flava/image-encoder.ts'
import type { FlavaImageEncoder } from '../../src/flava/image-encoder.ts'
import type { EncoderOutput } from '../../src/flava/encoder-output.ts'
import { passBytes } from '../../src/flava/pass-memory.ts'
import { encodeText, loadTextEncoder } from '../../src/flava/text-encoder.ts'
import type { FlavaTextEncoder } from '../../src/flava/text-encoder.ts'
import { splitPasses } from '../../src/services/split-passes.ts'
import type { KernelBuild } from '../../src/wasm/kernels.ts'
import { createSha256 } from '../../tools/model/sha256.ts'
import { newKernels } from '../wasm/load-kernels.ts'
import { streamOf, tinyPackage } from './tiny-package.ts'

const OUTPUTS: readonly EncoderOutput[] = ['projected', 'cls', 'hidden', 'preNorm', 'layers']
const BUILDS: readonly KernelBuild[] = ['relaxed-simd', 'simd128']
const LENGTHS = [[1], [12], [1, 1, 1, 1, 1], [12, 3], [5, 12, 7, 1, 12, 12, 12], Array<number>(64).fill(2)]
/** How far above the truth the bound may lie, at passes that are not tiny. */
const MAX_EXCESS = 1.6

const { manifest, files } = tinyPackage()
let text: FlavaTextEncoder
let image: FlavaImageEncoder

beforeAll(async () => {
  text = await newText()
  image = await loadImageEncoder(
    newKernels('relaxed-simd'),
    manifest,
    streamOf(files.get('image.safetensors')!),
    createSha256,
  )
})

function newText(maxBytes?: number, build: KernelBuild = 'relaxed-simd'): Promise<FlavaTextEncoder> {
  const kernels = newKernels(build, maxBytes)
  return loadTextEncoder(kernels, manifest, streamOf(files.get('text.safetensors')!), createSha256)
}

function sequences(lengths: readonly number[]) {
  return lengths.map((length) => ({ inputIds: Array.from({ length }, (_, token) => token) }))
}

const CASES = BUILDS.flatMap((build) => LENGTHS.map((lengths) => [build, lengths] as const))

test.each(CASES)('%s: texts of %j tokens take no more than the bound, whatever comes out', async (build, lengths) => {
  for (const output of OUTPUTS) {
    // A fresh memory each time: the arena counts what was highest ever.
    const encoder = await newText(undefined, build)
    const before = encoder.kernels.arena.usedBytes
    encodeText(encoder, sequences(lengths), output)
    const bytes = encoder.kernels.arena.highWaterBytes - before
    const tokens = lengths.reduce((sum, length) => sum + length, 0)
    const bound = passBytes(encoder.pass, tokens, Math.max(...lengths))
    expect(bytes).toBeLessThanOrEqual(bound)
    // Of a few tokens, the kernels' scratch is most.
    expect(tokens < 24 || bound / bytes < MAX_EXCESS).toBe(true)
  }
})

test.each([1, 2, 5])('%i pictures take no more than the bound', (count) => {
  const before = image.kernels.arena.usedBytes
  encodeImage(image, new Float32Array(count * 3 * 12 * 12), count, 'hidden')
  const bytes = image.kernels.arena.highWaterBytes - before
  expect(bytes).toBeLessThanOrEqual(passBytes(image.pass, count * 10, 10))
})

test('passes that are split by the bound fit a memory that all texts at once do not', async () => {
  const lengths = Array<number>(120).fill(12)
  const { footprint } = text
  const encoder = await newText(Math.ceil((footprint.weightBytes + 400_000) / 65536) * 65536)
  const { freeBytes } = encoder.kernels.arena
  expect(() => encodeText(encoder, sequences(lengths), 'hidden')).toThrow(
    expect.objectContaining({ code: 'out_of_memory' }),
  )
  const passes = splitPasses(lengths, (tokens, longest) => passBytes(encoder.pass, tokens, longest) <= freeBytes)
  expect(passes.length).toBeGreaterThan(1)
  const split = passes.flatMap(([first, end]) => encodeText(encoder, sequences(lengths.slice(first, end)), 'hidden'))
  expect(split).toHaveLength(lengths.length)
})

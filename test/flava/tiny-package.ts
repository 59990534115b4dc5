// A model package made in memory with random tensors: everything about loading and encoding that needs no training.
// Head sizes differ on purpose: 8 for text, 64 (flava-full's) for images.
import { createHash } from 'node:crypto'
import { parseManifest } from '../../src/flava/manifest.ts'
import type { ModelManifest } from '../../src/flava/manifest.ts'
import { imageTensors, textTensors } from '../../src/flava/package-layout.ts'
import type { TensorSpec } from '../../src/flava/package-layout.ts'
import { createRandom } from '../wasm/random.ts'

export interface FileTensor extends TensorSpec {
  name: string
  bytes: Uint8Array
}

export interface TinyPackage {
  manifest: ModelManifest
  tensors: FileTensor[]
  file: Uint8Array
}

export const FILE_METADATA = { format: 'flava-edge', format_version: '1', scheme: 'w7a8' }

const HEX64 = '0'.repeat(64)
const block = { intermediate_size: 40, hidden_act: 'gelu', layer_norm_eps: 1e-12, qkv_bias: true }

/** A whole config.json, to be changed by the tests that want it wrong. */
export function tinyConfig() {
  return {
    model_type: 'flava',
    projection_dim: 24,
    text_config: {
      ...block,
      hidden_size: 32,
      num_attention_heads: 4,
      num_hidden_layers: 2,
      vocab_size: 50,
      type_vocab_size: 2,
      max_position_embeddings: 12,
    },
    image_config: {
      ...block,
      hidden_size: 128,
      num_attention_heads: 2,
      num_hidden_layers: 1,
      image_size: 12,
      patch_size: 4,
      num_channels: 3,
    },
    flava_edge: {
      format_version: 1,
      scheme: 'w7a8',
      space: '0123456789abcdef',
      weights: HEX64,
      checkpoint: HEX64,
      max_text_length: 10,
      pooling: 'cls-projected',
      license: 'apache-2.0',
    },
  }
}

export function tinyPreprocessor() {
  return {
    do_resize: true,
    size: { height: 12, width: 12 },
    resample: 3,
    do_center_crop: false,
    do_rescale: true,
    rescale_factor: 1 / 255,
    do_normalize: true,
    image_mean: [0.5, 0.5, 0.5],
    image_std: [0.25, 0.25, 0.25],
  }
}

export function tinyPackage(): TinyPackage {
  const manifest = parseManifest(tinyConfig(), tinyPreprocessor())
  const specs = [...textTensors(manifest), ...imageTensors(manifest)]
  const tensors = specs.map(([name, spec], index) => ({ name, ...spec, bytes: randomBytes(name, spec, index) }))
  const file = safetensorsFile(tensors)
  return { manifest: { ...manifest, weights: sha256(file) }, tensors, file }
}

/** The bytes of a safetensors file with these tensors, in this order. */
export function safetensorsFile(tensors: readonly FileTensor[], metadata: unknown = FILE_METADATA): Uint8Array {
  let offset = 0
  const entries = tensors.map(({ name, dtype, shape, bytes }) => {
    const begin = offset
    offset += bytes.length
    return [name, { dtype, shape, data_offsets: [begin, offset] }] as const
  })
  const header = JSON.stringify({ __metadata__: metadata, ...Object.fromEntries(entries) })
  return fileOf(header, ...tensors.map(({ bytes }) => bytes))
}

/** Length field, header text and data: the frame of a safetensors file around anything. */
export function fileOf(header: string, ...data: readonly Uint8Array[]): Uint8Array {
  const encoded = Buffer.from(header, 'utf8')
  const length = Buffer.alloc(8)
  length.writeBigUInt64LE(BigInt(encoded.length))
  return new Uint8Array(Buffer.concat([length, encoded, ...data]))
}

export function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex')
}

/** A stream of the bytes in chunks of the given size. */
export function streamOf(bytes: Uint8Array, chunkSize = 1000): ReadableStream<Uint8Array> {
  let position = 0
  return new ReadableStream({
    pull(controller) {
      if (position >= bytes.length) {
        controller.close()
        return
      }
      controller.enqueue(bytes.slice(position, position + chunkSize))
      position += chunkSize
    },
  })
}

function randomBytes(name: string, { dtype, shape }: TensorSpec, seed: number): Uint8Array {
  const random = createRandom(seed)
  const length = shape.reduce((product, size) => product * size, 1)
  if (dtype === 'U8') return Uint8Array.from({ length }, () => 1 + Math.floor(random() * 127))
  if (dtype === 'I8') return new Uint8Array(Int8Array.from({ length }, () => Math.floor(random() * 255) - 127).buffer)
  // Scales small enough that activations keep the size trained ones have.
  const value = name.endsWith('weight_scale') ? () => 0.002 + random() * 0.002 : () => (random() - 0.5) * 0.4
  const gamma = /norm(_\w+)?\.weight$/i.test(name) ? 1 : 0
  return new Uint8Array(Float32Array.from({ length }, () => gamma + value()).buffer)
}

// A model package made in memory with random tensors: everything about loading and encoding that needs no training.
// Head sizes differ on purpose, 16 for text and 64 (flava-full's) for images, and every scheme is there.
import { createHash } from 'node:crypto'
import { toImageConfig, toTextConfig } from '../../src/flava/config.ts'
import { parseManifest } from '../../src/flava/manifest.ts'
import type { ModelManifest } from '../../src/flava/manifest.ts'
import {
  imageLinears,
  imageTensors,
  textLinears,
  textTensors,
  WORD_EMBEDDINGS,
} from '../../src/flava/package-layout.ts'
import type { TensorSpecs } from '../../src/flava/package-layout.ts'
import type { EmbeddingScheme, LinearScheme, StoredTensor } from '../../src/wasm/schemes.ts'
import { createRandom } from '../wasm/random.ts'
import { tinyTokenizer } from './tiny-tokenizer.ts'

export interface FileTensor extends StoredTensor {
  name: string
  bytes: Uint8Array
}

export interface TinyPackage {
  manifest: ModelManifest
  /** Every file by its name, config.json too. */
  files: ReadonlyMap<string, Uint8Array>
  tensors: { text: FileTensor[]; image: FileTensor[] }
}

export interface TinyOptions {
  /** Default: every scheme takes its turn. */
  linear?: LinearScheme
  wordEmbeddings?: EmbeddingScheme
  /** tokenizer.json; default: a sound one. */
  tokenizer?: unknown
}

const PROJECTION_SIZE = 24
const HEX64 = '0'.repeat(64)
const block = { hidden_act: 'gelu', layer_norm_eps: 1e-12, qkv_bias: true } as const
const MIXED: readonly LinearScheme[] = ['w6g64', 'w7', 'w4g32', 'w5g64', 'w8', 'w4g64']

const TEXT_CONFIG = {
  ...block,
  hidden_size: 64,
  intermediate_size: 128,
  num_attention_heads: 4,
  num_hidden_layers: 2,
  vocab_size: 50,
  type_vocab_size: 2,
  max_position_embeddings: 12,
}

const IMAGE_CONFIG = {
  ...block,
  hidden_size: 128,
  intermediate_size: 192,
  num_attention_heads: 2,
  num_hidden_layers: 2,
  image_size: 12,
  patch_size: 4,
  num_channels: 3,
} as const

/** A whole config.json, to be changed by the tests that want it wrong; its hashes are of nothing. */
export function tinyConfig({ linear, wordEmbeddings = 'e8' }: TinyOptions = {}) {
  const file = (name: string) => ({ name, sha256: HEX64, size_bytes: 1 })
  return {
    model_type: 'flava',
    projection_dim: PROJECTION_SIZE,
    text_config: TEXT_CONFIG,
    image_config: IMAGE_CONFIG,
    flava_edge: {
      format_version: 2,
      variant: 'default',
      space: '0123456789abcdef',
      weights: HEX64,
      checkpoint: HEX64,
      files: {
        text: file('text.safetensors'),
        image: file('image.safetensors'),
        tokenizer: file('tokenizer.json'),
        preprocessor: file('preprocessor_config.json'),
      },
      schemes: tinySchemes(linear, wordEmbeddings),
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

/** A whole and sound package. */
export function tinyPackage(options: TinyOptions = {}): TinyPackage {
  const manifest = parseManifest(tinyConfig(options), tinyPreprocessor())
  const tensors = { text: randomTensors(textTensors(manifest), 1), image: randomTensors(imageTensors(manifest), 1000) }
  return packageOf(
    options,
    {
      text: safetensorsFile(tensors.text),
      image: safetensorsFile(tensors.image),
    },
    tensors,
  )
}

/** A package of just these tensor files: config.json names their hashes, whatever is in them. */
export function packageOf(
  options: TinyOptions,
  tensorFiles: { text: Uint8Array; image: Uint8Array },
  tensors: TinyPackage['tensors'] = { text: [], image: [] },
): TinyPackage {
  const config = tinyConfig(options)
  const contents = {
    ...tensorFiles,
    tokenizer: jsonBytes(options.tokenizer ?? tinyTokenizer(TEXT_CONFIG.vocab_size)),
    preprocessor: jsonBytes(tinyPreprocessor()),
  }
  const { files } = config.flava_edge
  for (const part of ['text', 'image', 'tokenizer', 'preprocessor'] as const) {
    const bytes = contents[part]
    files[part] = { name: files[part].name, sha256: sha256(bytes), size_bytes: bytes.length }
  }
  config.flava_edge.weights = sha256(Buffer.from(`${files.text.sha256}\n${files.image.sha256}\n`))
  return {
    manifest: parseManifest(config, tinyPreprocessor()),
    tensors,
    files: new Map([
      ['config.json', jsonBytes(config)],
      ['text.safetensors', contents.text],
      ['image.safetensors', contents.image],
      ['tokenizer.json', contents.tokenizer],
      ['preprocessor_config.json', contents.preprocessor],
    ]),
  }
}

/** The bytes of a safetensors file with these tensors, in this order. */
export function safetensorsFile(tensors: readonly FileTensor[], metadata: unknown = { format: 'pt' }): Uint8Array {
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

/** Weights without meaning, scales small enough that activations keep the size trained ones have. */
function randomTensors(specs: TensorSpecs, seed: number): FileTensor[] {
  return [...specs].map(([name, spec], index) => ({ name, ...spec, bytes: randomBytes(name, spec, seed + index) }))
}

function randomBytes(name: string, { dtype, shape }: StoredTensor, seed: number): Uint8Array {
  const random = createRandom(seed)
  const length = shape.reduce((product, size) => product * size, 1)
  const scale = () => 0.002 + random() * 0.002
  switch (dtype) {
    // 1..127 are codes of w7; packed codes may be any byte.
    case 'U8':
      return Uint8Array.from({ length }, () => 1 + Math.floor(random() * 127))
    case 'I8':
      return new Uint8Array(Int8Array.from({ length }, () => Math.floor(random() * 255) - 127).buffer)
    case 'BF16': {
      const upperHalves = Float32Array.from({ length }, () => (random() < 0.5 ? -1 : 1) * 4 * scale())
      const bits = new Uint32Array(upperHalves.buffer)
      return new Uint8Array(Uint16Array.from(bits, (value) => value >>> 16).buffer)
    }
    case 'F32': {
      const value = name.endsWith('weight_scale') ? scale : () => (random() - 0.5) * 0.4
      const gamma = /norm(_\w+)?\.weight$/i.test(name) ? 1 : 0
      return new Uint8Array(Float32Array.from({ length }, () => gamma + value()).buffer)
    }
  }
}

function tinySchemes(linear: LinearScheme | undefined, wordEmbeddings: EmbeddingScheme): Record<string, string> {
  const geometry = {
    projectionSize: PROJECTION_SIZE,
    text: toTextConfig(TEXT_CONFIG),
    image: toImageConfig(IMAGE_CONFIG),
  }
  const schemes: Record<string, string> = { [WORD_EMBEDDINGS]: wordEmbeddings }
  let turn = 0
  for (const [name, { k }] of [...textLinears(geometry), ...imageLinears(geometry)]) {
    // A patch has 48 values: no whole group.
    schemes[name] = k % 64 === 0 ? (linear ?? MIXED[turn++ % MIXED.length] ?? 'w7') : 'w7'
  }
  return schemes
}

function jsonBytes(value: unknown): Uint8Array {
  return new TextEncoder().encode(JSON.stringify(value))
}

// A model package of flava-full's geometry whose codes mean nothing, made in memory one file at a time: for everything
// about size, memory and loading that needs no trained weights. Its vectors are finite and that is all.
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
import { storedBytes } from '../../src/wasm/schemes.ts'
import type { EmbeddingScheme, LinearScheme, StoredTensor } from '../../src/wasm/schemes.ts'
import { createRandom } from '../wasm/random.ts'
import { tinyTokenizer } from './tiny-tokenizer.ts'

export interface FullSchemes {
  text: LinearScheme
  image: LinearScheme
  words: EmbeddingScheme
}

export interface FullPackage {
  manifest: ModelManifest
  /** config.json, as it is stored. */
  config: Uint8Array
  /** Every other file by its sha256. */
  files: ReadonlyMap<string, Uint8Array>
}

const HIDDEN_SIZE = 768
/** As the exporter stores it in every variant. */
const PROJECTION_SCHEME: LinearScheme = 'w8'
const block = {
  hidden_size: HIDDEN_SIZE,
  intermediate_size: 3072,
  num_attention_heads: 12,
  num_hidden_layers: 12,
  hidden_act: 'gelu',
  layer_norm_eps: 1e-12,
  qkv_bias: true,
} as const
const TEXT_CONFIG = { ...block, vocab_size: 30_522, type_vocab_size: 2, max_position_embeddings: 512 }
const IMAGE_CONFIG = { ...block, image_size: 224, patch_size: 16, num_channels: 3 } as const
const PREPROCESSOR = {
  do_resize: true,
  size: { height: 224, width: 224 },
  resample: 3,
  do_center_crop: false,
  do_rescale: true,
  rescale_factor: 1 / 255,
  do_normalize: true,
  image_mean: [0.48145466, 0.4578275, 0.40821073],
  image_std: [0.26862954, 0.26130258, 0.27577711],
}
/** Random bytes are drawn once and repeated. */
const PATTERN_BYTES = 1024 * 1024

/** @param variant also the seed of its random bytes: two variants share no file */
export function fullPackage(variant: string, schemes: FullSchemes): FullPackage {
  const geometry = {
    projectionSize: HIDDEN_SIZE,
    text: toTextConfig(TEXT_CONFIG),
    image: toImageConfig(IMAGE_CONFIG),
  }
  const schemesByName = Object.fromEntries([
    [WORD_EMBEDDINGS, schemes.words],
    ...[...textLinears(geometry).keys()].map((name) => [name, schemes.text] as const),
    ...[...imageLinears(geometry).keys()].map((name) => [name, schemes.image] as const),
    ['text_projection', PROJECTION_SCHEME],
    ['image_projection', PROJECTION_SCHEME],
  ])
  const draft = parseManifest(configOf(variant, schemesByName, NO_FILES), PREPROCESSOR)
  const contents = {
    text: tensorFile(textTensors(draft), variant),
    image: tensorFile(imageTensors(draft), variant),
    tokenizer: jsonBytes(tinyTokenizer(TEXT_CONFIG.vocab_size)),
    preprocessor: jsonBytes(PREPROCESSOR),
  }
  const files = {
    text: describe('text.safetensors', contents.text),
    image: describe('image.safetensors', contents.image),
    tokenizer: describe('tokenizer.json', contents.tokenizer),
    preprocessor: describe('preprocessor_config.json', contents.preprocessor),
  }
  const config = configOf(variant, schemesByName, files)
  return {
    manifest: parseManifest(config, PREPROCESSOR),
    config: jsonBytes(config),
    files: new Map([
      [files.text.sha256, contents.text],
      [files.image.sha256, contents.image],
      [files.tokenizer.sha256, contents.tokenizer],
      [files.preprocessor.sha256, contents.preprocessor],
    ]),
  }
}

interface StoredFile {
  name: string
  sha256: string
  size_bytes: number
}

const NO_FILE: StoredFile = { name: 'none', sha256: '0'.repeat(64), size_bytes: 1 }
const NO_FILES = { text: NO_FILE, image: NO_FILE, tokenizer: NO_FILE, preprocessor: NO_FILE }

function configOf(variant: string, schemes: Record<string, string>, files: Record<keyof typeof NO_FILES, StoredFile>) {
  return {
    model_type: 'flava',
    projection_dim: HIDDEN_SIZE,
    text_config: TEXT_CONFIG,
    image_config: IMAGE_CONFIG,
    flava_edge: {
      format_version: 2,
      variant,
      space: '0123456789abcdef',
      weights: sha256(new TextEncoder().encode(`${files.text.sha256}\n${files.image.sha256}\n`)),
      checkpoint: '0'.repeat(64),
      files,
      schemes,
      max_text_length: 77,
      pooling: 'cls-projected',
      license: 'apache-2.0',
    },
  }
}

/** One allocation of the file's size. */
function tensorFile(specs: TensorSpecs, seed: string): Uint8Array {
  let offset = 0
  const entries = [...specs].map(([name, spec]) => {
    const begin = offset
    offset += storedBytes(spec)
    return [name, { ...spec, data_offsets: [begin, offset] }] as const
  })
  const header = new TextEncoder().encode(JSON.stringify(Object.fromEntries(entries)))
  const file = new Uint8Array(8 + header.length + offset)
  new DataView(file.buffer).setBigUint64(0, BigInt(header.length), true)
  file.set(header, 8)
  const patterns = patternsOf(seed.length + seed.charCodeAt(0))
  for (const [name, { data_offsets: offsets, ...spec }] of entries) {
    const [begin = 0, end = 0] = offsets.map((at) => 8 + header.length + at)
    const pattern = patterns(name, spec)
    for (let at = begin; at < end; at += pattern.length) {
      file.set(pattern.subarray(0, Math.min(pattern.length, end - at)), at)
    }
  }
  return file
}

/** Codes of any value; scales and norms that keep activations finite and of the usual size. */
function patternsOf(seed: number): (name: string, spec: StoredTensor) => Uint8Array {
  const random = createRandom(seed)
  const codes = Uint8Array.from({ length: PATTERN_BYTES }, () => Math.floor(random() * 256))
  // Stored bytes of w7 are 1..127; packed codes may be those too.
  const sevenBits = codes.map((code) => (code & 127) | 1)
  const floats = (make: () => number) => Float32Array.from({ length: HIDDEN_SIZE * 4 }, make)
  const bytesOf = (values: Float32Array | Uint16Array) => new Uint8Array(values.buffer)
  const scales = floats(() => 0.0005 + random() * 0.0005)
  const groupScales = new Uint32Array(floats(() => (random() < 0.5 ? -1 : 1) * (0.001 + random() * 0.001)).buffer)
  const byKind = {
    scale: bytesOf(scales),
    groupScale: bytesOf(Uint16Array.from(groupScales, (bits) => bits >>> 16)),
    gamma: bytesOf(floats(() => 0.8 + random() * 0.4)),
    small: bytesOf(floats(() => (random() - 0.5) * 0.1)),
  }
  return (name, { dtype }) => {
    switch (dtype) {
      case 'U8':
        return sevenBits
      case 'I8':
        return codes
      case 'BF16':
        return byKind.groupScale
      case 'F32':
        if (name.endsWith('weight_scale')) return byKind.scale
        return /norm(_\w+)?\.weight$/i.test(name) ? byKind.gamma : byKind.small
    }
  }
}

function describe(name: string, bytes: Uint8Array): StoredFile {
  return { name, sha256: sha256(bytes), size_bytes: bytes.length }
}

function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex')
}

function jsonBytes(value: unknown): Uint8Array {
  return new TextEncoder().encode(JSON.stringify(value))
}

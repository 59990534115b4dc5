// What a model package says about itself: config.json and preprocessor_config.json, parsed once and checked.
// Everything past this point trusts it; the tensors themselves are checked in weights.ts.
import { z } from 'zod'
import { ModelPackageError } from '../errors.ts'
import { flavaConfigSchema, toImageConfig, toTextConfig } from './config.ts'
import type { EncoderConfig, ImageConfig, TextConfig } from './config.ts'

export const FORMAT_VERSION = 1
export const SCHEME = 'w7a8'

/** The attention kernel takes heads of whole groups of 4; 8 also makes hidden_size whole panels. */
const HEAD_DIM_MULTIPLE = 8
/** The packed weight layout holds whole panels of 8 output channels; see src/wasm. */
const CHANNEL_MULTIPLE = 8
/** Values of one patch go through a Linear, whose inputs are packed in steps of 4; see src/wasm. */
const PATCH_VALUES_MULTIPLE = 4
/** PIL's number for bicubic, the one resize this engine does. */
const PIL_BICUBIC = 3
const RESCALE_TOLERANCE = 1e-9

const hex = (digits: number) => z.string().regex(new RegExp(`^[0-9a-f]{${digits}}$`), `expected ${digits} hex digits`)
const channels = z.tuple([z.number(), z.number(), z.number()])

const edgeSchema = z.object({
  format_version: z.literal(FORMAT_VERSION),
  scheme: z.literal(SCHEME),
  space: hex(16),
  weights: hex(64),
  checkpoint: hex(64),
  // [CLS] and two [SEP]: what an empty pair takes.
  max_text_length: z.int().min(3),
  pooling: z.literal('cls-projected'),
  license: z.string().min(1),
})

// The format is checked before the geometry, so that a package from another version is refused as just that.
const versionSchema = z.object({ flava_edge: edgeSchema.pick({ format_version: true, scheme: true }) })
const configSchema = flavaConfigSchema.extend({ flava_edge: edgeSchema })

const preprocessorSchema = z.object({
  do_resize: z.literal(true),
  size: z.object({ height: z.int().positive(), width: z.int().positive() }),
  resample: z.literal(PIL_BICUBIC),
  // The engine does not crop; Hugging Face's default is true, so a missing field is not taken for false.
  do_center_crop: z.literal(false),
  do_rescale: z.literal(true),
  rescale_factor: z.number().refine((factor) => Math.abs(factor - 1 / 255) < RESCALE_TOLERANCE, 'expected 1/255'),
  do_normalize: z.literal(true),
  image_mean: channels,
  image_std: z.tuple([z.number().positive(), z.number().positive(), z.number().positive()]),
})

/** A model package's identity, geometry and preprocessing. */
export interface ModelManifest {
  /** Vectors may be compared when and only when this is equal. */
  space: string
  /** sha256 of model.safetensors, hex. */
  weights: string
  /** sha256 of the checkpoint the package was made from, hex. */
  checkpoint: string
  scheme: typeof SCHEME
  license: string
  /** Tokens per text, [CLS] and [SEP] included. */
  maxTextLength: number
  /** Length of a projected vector. */
  projectionSize: number
  text: TextConfig
  image: ImageConfig
  preprocessing: { size: number; mean: readonly number[]; std: readonly number[] }
}

/**
 * Parse a package's two JSON files.
 * @throws ModelPackageError naming the file and the field, for another format version, scheme or an impossible geometry
 */
export function parseManifest(configJson: unknown, preprocessorJson: unknown): ModelManifest {
  parseFile('config.json', versionSchema, configJson)
  const config = parseFile('config.json', configSchema, configJson)
  const preprocessor = parseFile('preprocessor_config.json', preprocessorSchema, preprocessorJson)
  const { flava_edge: edge } = config
  const manifest: ModelManifest = {
    space: edge.space,
    weights: edge.weights,
    checkpoint: edge.checkpoint,
    scheme: edge.scheme,
    license: edge.license,
    maxTextLength: edge.max_text_length,
    projectionSize: config.projection_dim,
    text: toTextConfig(config.text_config),
    image: toImageConfig(config.image_config),
    preprocessing: { size: preprocessor.size.height, mean: preprocessor.image_mean, std: preprocessor.image_std },
  }
  checkGeometry(manifest, preprocessor.size)
  return manifest
}

function checkGeometry(manifest: ModelManifest, size: { height: number; width: number }): void {
  const { text, image } = manifest
  checkEncoder('text_config', text)
  checkEncoder('image_config', image)
  const multiple = CHANNEL_MULTIPLE
  expect(
    'projection_dim',
    manifest.projectionSize % multiple === 0,
    `a multiple of ${multiple}`,
    manifest.projectionSize,
  )
  expect(
    'flava_edge.max_text_length',
    manifest.maxTextLength <= text.maxPositionEmbeddings,
    `at most max_position_embeddings (${text.maxPositionEmbeddings})`,
    manifest.maxTextLength,
  )
  const patches = `a multiple of patch_size (${image.patchSize})`
  expect('image_config.image_size', image.imageSize % image.patchSize === 0, patches, image.imageSize)
  const isWholeSteps = (image.numChannels * image.patchSize ** 2) % PATCH_VALUES_MULTIPLE === 0
  expect('image_config.patch_size', isWholeSteps, 'an even number', image.patchSize)
  if (size.height !== image.imageSize || size.width !== image.imageSize) {
    const sides = `${size.height}x${size.width}`
    throw new ModelPackageError(`preprocessor_config.json: size: expected ${image.imageSize} both sides, got ${sides}`)
  }
}

function checkEncoder(section: string, encoder: EncoderConfig): void {
  const { hiddenSize, headDim, intermediateSize } = encoder
  const isWhole = Number.isInteger(headDim) && headDim % HEAD_DIM_MULTIPLE === 0
  expect(`${section}.hidden_size`, isWhole, `heads of a multiple of ${HEAD_DIM_MULTIPLE} channels`, hiddenSize)
  const isWholePanels = intermediateSize % CHANNEL_MULTIPLE === 0
  expect(`${section}.intermediate_size`, isWholePanels, `a multiple of ${CHANNEL_MULTIPLE}`, intermediateSize)
}

function expect(field: string, isTrue: boolean, expected: string, got: number): void {
  if (!isTrue) throw new ModelPackageError(`config.json: ${field}: expected ${expected}, got ${got}`)
}

function parseFile<T>(file: string, schema: z.ZodType<T>, value: unknown): T {
  const parsed = schema.safeParse(value)
  if (parsed.success) return parsed.data
  const [issue] = parsed.error.issues
  const path = issue?.path ?? []
  const got = JSON.stringify(valueAt(value, path)) ?? 'nothing'
  throw new ModelPackageError(`${file}: ${path.join('.') || 'root'}: ${issue?.message}, got ${got.slice(0, 80)}`, {
    cause: parsed.error,
  })
}

function valueAt(value: unknown, path: readonly PropertyKey[]): unknown {
  return path.reduce<unknown>(
    (at, key) => (typeof at === 'object' && at !== null ? Reflect.get(at, key) : undefined),
    value,
  )
}

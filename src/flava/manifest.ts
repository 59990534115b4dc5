// What a model package says about itself: config.json and preprocessor_config.json, parsed once and checked.
// Everything past this point trusts it; the files themselves are checked as they are read, in package-file.ts.
import { z } from 'zod'
import { AppError, ModelPackageError, UnsupportedPackageError } from '../errors.ts'
import { EMBEDDING_SCHEMES, LINEAR_SCHEMES, embeddingTensors, expectLinearShape } from '../wasm/schemes.ts'
import type { EmbeddingScheme, LinearScheme } from '../wasm/schemes.ts'
import { flavaConfigSchema, toImageConfig, toTextConfig } from './config.ts'
import type { EncoderConfig, ImageConfig, TextConfig } from './config.ts'
import { imageLinears, textLinears, WORD_EMBEDDINGS } from './package-layout.ts'
import type { PackageFile } from './package-file.ts'

const FORMAT_VERSION = 2

/** The attention kernel takes heads of whole groups of 8, which also makes hidden_size whole panels. */
const HEAD_DIM_MULTIPLE = 8
/** The packed weight layout holds whole panels of 8 output channels; see src/wasm. */
const CHANNEL_MULTIPLE = 8
/** Values of one patch go through a Linear, whose inputs are packed in steps of 4; see src/wasm. */
const PATCH_VALUES_MULTIPLE = 4
/** PIL's number for bicubic, the one resize this engine does. */
const PIL_BICUBIC = 3
const RESCALE_TOLERANCE = 1e-9
/** BERT's tokenizer.json is 0.7 MB, a multilingual one 3 MB. */
const MAX_JSON_BYTES = 8 * 1024 * 1024

const hex = (digits: number) => z.string().regex(new RegExp(`^[0-9a-f]{${digits}}$`), `expected ${digits} hex digits`)
const channels = z.tuple([z.number(), z.number(), z.number()])

const fileSchema = z
  .object({
    // A plain name: it becomes part of a path.
    name: z.string().regex(/^[A-Za-z0-9][A-Za-z0-9._-]*$/, 'expected a plain file name'),
    sha256: hex(64),
    size_bytes: z.int().positive(),
  })
  .transform(({ name, sha256, size_bytes: sizeBytes }): PackageFile => ({ name, sha256, sizeBytes }))

// Read whole, and parsed.
const jsonFileSchema = fileSchema.refine(
  ({ sizeBytes }) => sizeBytes <= MAX_JSON_BYTES,
  `expected at most ${MAX_JSON_BYTES} bytes of JSON`,
)
const filesSchema = z.object({
  text: fileSchema,
  image: fileSchema,
  tokenizer: jsonFileSchema,
  preprocessor: jsonFileSchema,
})

const edgeSchema = z.object({
  variant: z.string().regex(/^[a-z0-9][a-z0-9-]{0,31}$/, 'expected up to 32 of a-z, 0-9 and -'),
  space: hex(16),
  weights: hex(64),
  checkpoint: hex(64),
  files: filesSchema,
  schemes: z.record(z.string(), z.string()),
  // [CLS] and two [SEP]: what an empty pair takes.
  max_text_length: z.int().min(3),
  pooling: z.literal('cls-projected'),
  license: z.string().min(1),
})

// The format is checked before all else, so that a package from another version is refused as just that.
const versionSchema = z.object({ flava_edge: z.object({ format_version: z.int().positive() }) })
const packageFilesSchema = z.object({ flava_edge: edgeSchema.pick({ files: true }) })
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

/** The files of a package beside config.json, by what they are for. */
export type PackageFiles = Readonly<Record<'text' | 'image' | 'tokenizer' | 'preprocessor', PackageFile>>

/** How each quantized tensor is stored, by its name without `.weight`. */
export interface PackageSchemes {
  wordEmbeddings: EmbeddingScheme
  linears: Readonly<Record<string, LinearScheme>>
}

/** A model package's identity, geometry and preprocessing. Plain data: it crosses from Worker to Worker. */
export interface ModelManifest {
  /** Which of a model's packages this is: `default`, `small`, ... */
  variant: string
  /** Vectors may be compared when and only when this is equal. */
  space: string
  /** Identity of the package's tensors: sha256 over the tensor files' hashes, hex. */
  weights: string
  /** sha256 of the checkpoint the package was made from, hex. */
  checkpoint: string
  license: string
  files: PackageFiles
  schemes: PackageSchemes
  /** Tokens per text, [CLS] and [SEP] included. */
  maxTextLength: number
  /** Length of a projected vector. */
  projectionSize: number
  text: TextConfig
  image: ImageConfig
  preprocessing: { size: number; mean: readonly number[]; std: readonly number[] }
}

/**
 * The part of config.json that says where the rest of the package is.
 * @throws ModelPackageError, UnsupportedPackageError for another format version
 */
export function parsePackageFiles(configJson: unknown): PackageFiles {
  checkVersion(configJson)
  return parseFile('config.json', packageFilesSchema, configJson).flava_edge.files
}

/**
 * Parse a package's two JSON files.
 * @throws ModelPackageError naming the file and the field, for an impossible geometry too; UnsupportedPackageError for
 * another format version or a scheme that is not known here
 */
export function parseManifest(configJson: unknown, preprocessorJson: unknown): ModelManifest {
  checkVersion(configJson)
  const config = parseFile('config.json', configSchema, configJson)
  const preprocessor = parseFile('preprocessor_config.json', preprocessorSchema, preprocessorJson)
  const { flava_edge: edge } = config
  const geometry = {
    projectionSize: config.projection_dim,
    text: toTextConfig(config.text_config),
    image: toImageConfig(config.image_config),
  }
  checkGeometry(geometry, edge.max_text_length, preprocessor.size)
  return {
    variant: edge.variant,
    space: edge.space,
    weights: edge.weights,
    checkpoint: edge.checkpoint,
    license: edge.license,
    files: edge.files,
    schemes: parseSchemes(edge.schemes, geometry),
    maxTextLength: edge.max_text_length,
    ...geometry,
    preprocessing: { size: preprocessor.size.height, mean: preprocessor.image_mean, std: preprocessor.image_std },
  }
}

function checkVersion(configJson: unknown): void {
  const { format_version: version } = parseFile('config.json', versionSchema, configJson).flava_edge
  if (version === FORMAT_VERSION) return
  const remedy = version > FORMAT_VERSION ? 'update flava-edge' : 'export the model again'
  throw new UnsupportedPackageError(
    `config.json: flava_edge.format_version: expected ${FORMAT_VERSION}, got ${version}: ${remedy}`,
  )
}

type Geometry = Pick<ModelManifest, 'projectionSize' | 'text' | 'image'>

/** Every quantized tensor of this geometry has a scheme that it can be stored in, and nothing else has one. */
function parseSchemes(schemes: Readonly<Record<string, string>>, geometry: Geometry): PackageSchemes {
  const { text } = geometry
  const linears: Record<string, LinearScheme> = {}
  for (const [name, { n, k }] of [...textLinears(geometry), ...imageLinears(geometry)]) {
    const scheme = schemeOf(schemes, name, LINEAR_SCHEMES)
    checkScheme(name, () => expectLinearShape(scheme, n, k))
    linears[name] = scheme
  }
  const wordEmbeddings = schemeOf(schemes, WORD_EMBEDDINGS, EMBEDDING_SCHEMES)
  checkScheme(WORD_EMBEDDINGS, () => embeddingTensors(wordEmbeddings, text.vocabSize, text.hiddenSize))
  const unknown = Object.keys(schemes).find((name) => name !== WORD_EMBEDDINGS && !Object.hasOwn(linears, name))
  if (unknown !== undefined)
    throw new ModelPackageError(`${schemeField(unknown)}: not a quantized tensor of this model`)
  return { wordEmbeddings, linears }
}

function schemeOf<T extends string>(schemes: Readonly<Record<string, string>>, name: string, known: readonly T[]): T {
  const got = schemes[name]
  if (got === undefined) throw new ModelPackageError(`${schemeField(name)}: scheme is missing`)
  const scheme = known.find((candidate) => candidate === got)
  if (scheme !== undefined) return scheme
  throw new UnsupportedPackageError(
    `${schemeField(name)}: expected one of ${known.join(', ')}, got ${JSON.stringify(got.slice(0, 40))}`,
  )
}

function checkScheme(name: string, check: () => unknown): void {
  try {
    check()
  } catch (cause) {
    if (!(cause instanceof AppError)) throw cause
    throw new ModelPackageError(`${schemeField(name)}: ${cause.message}`, { cause })
  }
}

function schemeField(name: string): string {
  return `config.json: flava_edge.schemes.${name.slice(0, 120)}`
}

function checkGeometry(
  { projectionSize, text, image }: Geometry,
  maxTextLength: number,
  size: { height: number; width: number },
): void {
  checkEncoder('text_config', text)
  checkEncoder('image_config', image)
  const multiple = CHANNEL_MULTIPLE
  expect('projection_dim', projectionSize % multiple === 0, `a multiple of ${multiple}`, projectionSize)
  expect(
    'flava_edge.max_text_length',
    maxTextLength <= text.maxPositionEmbeddings,
    `at most max_position_embeddings (${text.maxPositionEmbeddings})`,
    maxTextLength,
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

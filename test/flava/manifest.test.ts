// A package of another format, scheme or geometry is refused by a message that names file and field.
import { describe, expect, test } from 'vitest'
import { ModelPackageError, UnsupportedPackageError } from '../../src/errors.ts'
import { parseManifest, parsePackageFiles } from '../../src/flava/manifest.ts'
import { tinyConfig, tinyPreprocessor } from './tiny-package.ts'

function refusal(config: unknown, preprocessor: unknown = tinyPreprocessor()): string {
  try {
    parseManifest(config, preprocessor)
  } catch (error) {
    if (error instanceof ModelPackageError || error instanceof UnsupportedPackageError) return error.message
    throw error
  }
  throw new Error('expected the manifest to be refused')
}

function withEdge(fields: object) {
  const config = tinyConfig()
  return { ...config, flava_edge: { ...config.flava_edge, ...fields } }
}

function withText(fields: object) {
  const config = tinyConfig()
  return { ...config, text_config: { ...config.text_config, ...fields } }
}

function withImage(fields: object) {
  const config = tinyConfig()
  return { ...config, image_config: { ...config.image_config, ...fields } }
}

describe('parseManifest', () => {
  test('takes geometry, identity and preprocessing from the two files', () => {
    const manifest = parseManifest(tinyConfig(), tinyPreprocessor())
    expect(manifest).toMatchObject({ space: '0123456789abcdef', maxTextLength: 10, projectionSize: 24 })
    expect(manifest.text).toMatchObject({ hiddenSize: 64, numHeads: 4, headDim: 16, numLayers: 2, vocabSize: 50 })
    expect(manifest.image).toMatchObject({ hiddenSize: 128, headDim: 64, numPatches: 9 })
    expect(manifest.preprocessing).toEqual({ size: 12, mean: [0.5, 0.5, 0.5], std: [0.25, 0.25, 0.25] })
  })

  test('takes files, variant and the scheme of each tensor from config.json', () => {
    const { variant, files, schemes } = parseManifest(tinyConfig(), tinyPreprocessor())
    expect(variant).toBe('default')
    expect(files.tokenizer).toEqual({ name: 'tokenizer.json', sha256: '0'.repeat(64), sizeBytes: 1 })
    expect(schemes.wordEmbeddings).toBe('e8')
    expect(schemes.linears['image_model.embeddings.patch_embeddings.projection']).toBe('w7')
    expect(new Set(Object.values(schemes.linears))).toEqual(new Set(['w4g32', 'w4g64', 'w5g64', 'w6g64', 'w7', 'w8']))
    expect(parsePackageFiles(tinyConfig())).toEqual(files)
  })

  test('names another format version before anything else, and says what to do', () => {
    for (const parse of [parsePackageFiles, (config: unknown) => parseManifest(config, tinyPreprocessor())]) {
      expect(() => parse({ flava_edge: { format_version: 3 } })).toThrow(
        expect.objectContaining({
          code: 'model_package_unsupported',
          message: 'config.json: flava_edge.format_version: expected 2, got 3: update flava-edge',
        }),
      )
    }
    expect(refusal(withEdge({ format_version: 1 }))).toMatch(/expected 2, got 1: export the model again$/)
    expect(refusal(withEdge({ format_version: '2' }))).toMatch(/format_version: .*got "2"$/)
  })

  test('refuses schemes that are unknown, missing, of no tensor, or that do not divide theirs', () => {
    const [text, image] = ['text_projection', 'image_model.embeddings.patch_embeddings.projection']
    const { schemes } = tinyConfig().flava_edge
    const withScheme = (name: string, scheme: string) => withEdge({ schemes: { ...schemes, [name]: scheme } })
    expect(() => parseManifest(withScheme(text, 'w3g64'), tinyPreprocessor())).toThrow(
      expect.objectContaining({
        code: 'model_package_unsupported',
        message: `config.json: flava_edge.schemes.${text}: expected one of w8, w7, w6g64, w5g64, w4g64, w4g32, got "w3g64"`,
      }),
    )
    expect(refusal(withScheme('text_model.embeddings.word_embeddings', 'w8'))).toContain('one of e8, e6, e4g32')
    expect(refusal(withScheme(image, 'w6g64'))).toContain(`schemes.${image}: k: expected a multiple of 64 for w6g64`)
    for (const name of ['text_pooler', 'constructor']) {
      expect(refusal(withScheme(name, 'w7'))).toContain(`${name}: not a quantized tensor of this model`)
    }
    const { [text]: _, ...others } = schemes
    expect(refusal(withEdge({ schemes: others }))).toContain(`schemes.${text}: scheme is missing`)
  })

  test('refuses variants and file names that are not plain', () => {
    for (const variant of ['', 'Default', '-x', 'a/b', 'a'.repeat(33)]) {
      expect(refusal(withEdge({ variant }))).toContain('flava_edge.variant: expected up to 32 of a-z, 0-9 and -')
    }
    const { files } = tinyConfig().flava_edge
    for (const name of ['../text.safetensors', 'a/b', '.hidden', '']) {
      const wrong = { ...files, text: { ...files.text, name } }
      expect(refusal(withEdge({ files: wrong }))).toContain('files.text.name: expected a plain file name')
    }
    expect(refusal(withEdge({ files: { ...files, image: { ...files.image, size_bytes: 0 } } }))).toContain('size_bytes')
  })

  test('refuses a plain checkpoint, which has no flava_edge', () => {
    const { flava_edge: _, ...checkpoint } = tinyConfig()
    expect(refusal(checkpoint)).toMatch(/^config\.json: flava_edge: .*got nothing$/)
    expect(refusal(null)).toMatch(/^config\.json: root: .*got null$/)
  })

  test('refuses hashes that are not hashes', () => {
    expect(refusal(withEdge({ weights: 'abc' }))).toContain('flava_edge.weights: expected 64 hex digits, got "abc"')
    expect(refusal(withEdge({ space: 'X'.repeat(16) }))).toContain('flava_edge.space: expected 16 hex digits')
  })

  test('refuses geometries that the kernels cannot run', () => {
    expect(refusal(withText({ num_attention_heads: 5 }))).toContain(
      'text_config.hidden_size: expected heads of a multiple',
    )
    expect(refusal(withText({ num_attention_heads: 16 }))).toContain(
      'text_config.hidden_size: expected heads of a multiple',
    )
    expect(refusal(withText({ intermediate_size: 36 }))).toContain(
      'text_config.intermediate_size: expected a multiple of 8',
    )
    expect(refusal(withText({ hidden_act: 'relu' }))).toContain('text_config.hidden_act')
    expect(refusal(withImage({ image_size: 13 }))).toContain(
      'image_config.image_size: expected a multiple of patch_size (4)',
    )
    expect(refusal(withImage({ image_size: 9, patch_size: 3 }))).toContain(
      'image_config.patch_size: expected an even number, got 3',
    )
    expect(refusal({ ...tinyConfig(), projection_dim: 20 })).toContain(
      'projection_dim: expected a multiple of 8, got 20',
    )
    expect(refusal(withEdge({ max_text_length: 13 }))).toContain('at most max_position_embeddings (12), got 13')
  })

  test('refuses counts that no FLAVA has before it counts anything by them', () => {
    expect(refusal(withText({ num_hidden_layers: 100_000 }))).toMatch(/^config\.json: text_config\.num_hidden_layers: /)
    expect(refusal(withImage({ num_hidden_layers: 257 }))).toMatch(/^config\.json: image_config\.num_hidden_layers: /)
    expect(refusal(withText({ vocab_size: 2 ** 31 }))).toMatch(/^config\.json: text_config\.vocab_size: /)
    expect(refusal(withImage({ image_size: 2 ** 20 }))).toMatch(/^config\.json: image_config\.image_size: /)
    for (const field of ['hidden_size', 'intermediate_size', 'max_position_embeddings', 'type_vocab_size']) {
      expect(refusal(withText({ [field]: 2 ** 17 }))).toMatch(new RegExp(`^config\\.json: text_config\\.${field}: `))
    }
  })

  test('refuses JSON files of more bytes than are read whole', () => {
    const { files } = tinyConfig().flava_edge
    for (const part of ['tokenizer', 'preprocessor'] as const) {
      const large = { ...files, [part]: { ...files[part], size_bytes: 8 * 1024 * 1024 + 1 } }
      expect(refusal(withEdge({ files: large }))).toContain(`files.${part}: expected at most 8388608 bytes of JSON`)
    }
  })

  test('refuses preprocessing that the pixels Worker does not do', () => {
    const base = tinyPreprocessor()
    expect(refusal(tinyConfig(), { ...base, resample: 2 })).toMatch(/^preprocessor_config\.json: resample: .*got 2$/)
    expect(refusal(tinyConfig(), { ...base, rescale_factor: 1 })).toContain('rescale_factor: expected 1/255, got 1')
    expect(refusal(tinyConfig(), { ...base, do_center_crop: true })).toMatch(/do_center_crop: .*got true$/)
    expect(refusal(tinyConfig(), { ...base, image_std: [0.25, 0, 0.25] })).toMatch(/image_std\.1: .*got 0$/)
    expect(refusal(tinyConfig(), { ...base, size: { height: 12, width: 14 } })).toContain(
      'expected 12 both sides, got 12x14',
    )
  })
})

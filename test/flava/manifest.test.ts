// A package of another format, scheme or geometry is refused by a message that names file and field.
import { describe, expect, test } from 'vitest'
import { ModelPackageError } from '../../src/errors.ts'
import { parseManifest } from '../../src/flava/manifest.ts'
import { tinyConfig, tinyPreprocessor } from './tiny-package.ts'

function refusal(config: unknown, preprocessor: unknown = tinyPreprocessor()): string {
  try {
    parseManifest(config, preprocessor)
  } catch (error) {
    if (error instanceof ModelPackageError) return error.message
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
    expect(manifest.text).toMatchObject({ hiddenSize: 32, numHeads: 4, headDim: 8, numLayers: 2, vocabSize: 50 })
    expect(manifest.image).toMatchObject({ hiddenSize: 128, headDim: 64, numPatches: 9 })
    expect(manifest.preprocessing).toEqual({ size: 12, mean: [0.5, 0.5, 0.5], std: [0.25, 0.25, 0.25] })
  })

  test('names another format version or scheme before anything else', () => {
    expect(refusal({ flava_edge: { format_version: 2, scheme: 'w7a8' } })).toMatch(
      /^config\.json: flava_edge\.format_version: .*1, got 2$/,
    )
    expect(refusal(withEdge({ scheme: 'w4a8' }))).toMatch(/^config\.json: flava_edge\.scheme: .*"w7a8", got "w4a8"$/)
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
    expect(refusal(withText({ num_attention_heads: 8 }))).toContain(
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

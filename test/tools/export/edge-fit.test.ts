// Whether a package fits a Worker is tried out in the memory that a Worker has.
import { expect, test } from 'vitest'
import { MAX_WEIGHT_BYTES, measureEdgeFit } from '../../../tools/export/edge-fit.ts'
import { packageOf, tinyPackage } from '../../flava/tiny-package.ts'
import { writePackage } from './tiny-parity.ts'

test('a tiny package fits, and the memory it takes is more than its weights', async () => {
  const fit = await measureEdgeFit(await writePackage(tinyPackage()))
  expect(fit).toMatchObject({ isFitting: true, maxMemoryBytes: 96 * 1024 * 1024 })
  expect(fit.text.memoryBytes).toBeGreaterThan(fit.text.weightBytes)
  expect(fit.image.memoryBytes).toBeGreaterThan(fit.image.weightBytes)
})

test('an encoder whose tensors leave no room for activations does not fit, and the other one is still measured', async () => {
  const sound = tinyPackage()
  const tooLarge = new Uint8Array(MAX_WEIGHT_BYTES + 1)
  const fit = await measureEdgeFit(
    await writePackage(packageOf({}, { text: tooLarge, image: sound.files.get('image.safetensors')! })),
  )
  expect(fit.isFitting).toBe(false)
  expect(fit.text).toEqual({ weightBytes: tooLarge.length, memoryBytes: null })
  expect(fit.image.memoryBytes).not.toBeNull()
})

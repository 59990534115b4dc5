// Bytes and schemes by part: nothing is counted twice, nothing is left out.
import { expect, test } from 'vitest'
import { encoderMakeup } from '../../../tools/export/package-parts.ts'
import { tinyPackage } from '../../flava/tiny-package.ts'

test.each(['text', 'image'] as const)('the parts of the %s encoder add up to all of its tensors', (encoder) => {
  const { manifest, tensors } = tinyPackage()
  const { bytes } = encoderMakeup(manifest, encoder)
  const total = Object.values(bytes).reduce((sum, part) => sum + part, 0)
  expect(total).toBe(tensors[encoder].reduce((sum, tensor) => sum + tensor.bytes.length, 0))
  expect(bytes.wordEmbeddings > 0).toBe(encoder === 'text')
})

test('schemes are counted by part, the patch projection among the embeddings', () => {
  const { manifest } = tinyPackage({ linear: 'w6g64', wordEmbeddings: 'e6' })
  const text = encoderMakeup(manifest, 'text')
  expect(text.schemes).toEqual({
    wordEmbeddings: { e6: 1 },
    attention: { w6g64: 8 },
    feedForward: { w6g64: 4 },
    projection: { w6g64: 1 },
  })
  expect(encoderMakeup(manifest, 'image').schemes).toMatchObject({ otherEmbeddings: { w7: 1 } })
})

test('6-bit weights with a bf16 scale for each 64 are 6.25 bits', () => {
  const { manifest } = tinyPackage({ linear: 'w6g64' })
  expect(encoderMakeup(manifest, 'text').bitsPerWeight).toBe(6.25)
})

// What a parity report says must follow from the vectors: one for equal ones, less for others, dev inputs apart.
import { beforeAll, expect, test } from 'vitest'
import { measureImage, measureText } from '../../../tools/export/measure-encoders.ts'
import type { ParitySet } from '../../../tools/export/parity-inputs.ts'
import { floatValues } from '../../../tools/model/read-tensors.ts'
import { tinyPackage } from '../../flava/tiny-package.ts'
import { selfParitySet, writePackage } from './tiny-parity.ts'

let directory: string

beforeAll(async () => {
  directory = await writePackage(tinyPackage())
})

/** The set with the sign of one tensor's first values turned. */
function withTurned(set: ParitySet, name: string, from: number, count: number): ParitySet {
  const values = floatValues(set.vectors, name).slice()
  for (let index = from; index < from + count; index += 1) values[index] = -(values[index] ?? 0)
  const tensor = { ...set.vectors.get(name)!, bytes: new Uint8Array(values.buffer) }
  return { ...set, vectors: new Map([...set.vectors, [name, tensor]]) }
}

test('vectors of the package itself give cosines of one, in every layer, with both builds equal', async () => {
  const set = await selfParitySet(directory)
  const text = await measureText(directory, set)
  expect(text).toMatchObject({ layerInputs: 3, twinCount: 48, areBuildsEqual: true })
  expect(text.all.count).toBe(60)
  expect(text.all.min).toBeGreaterThan(0.999998)
  expect(text.dev?.count).toBe(6)
  expect(text.layers).toHaveLength(3)
  const image = await measureImage(directory, set)
  expect(image).toMatchObject({ twinCount: 16, areBuildsEqual: true })
  expect(image.all.count).toBe(24)
  expect(image.dev?.count).toBe(6)
  expect(Math.min(...[...text.layers, ...image.layers].map(({ min }) => min))).toBeGreaterThan(0.999998)
})

test('one wrong vector among the dev inputs shows in the minimum of both, and nowhere else', async () => {
  const set = await selfParitySet(directory)
  const last = withTurned(set, 'text.projected', 59 * 24, 24)
  const { all, dev } = await measureText(directory, last)
  expect(all.min).toBeLessThan(-0.99)
  expect(dev?.min).toBeLessThan(-0.99)
  expect(all.mean).toBeGreaterThan(0.96)
})

test('inputs that repeat are counted once', async () => {
  const set = await selfParitySet(directory)
  const [first, , ...others] = set.inputs.texts
  const texts = [first!, first!, ...others]
  const { all, distinctCount } = await measureText(directory, { ...set, inputs: { ...set.inputs, texts } })
  expect(all.count).toBe(60)
  expect(distinctCount).toBe(new Set(texts.map(({ inputIds }) => inputIds.join())).size)
  expect(distinctCount).toBeLessThan(60)
})

test('a wrong state of one layer shows in that layer', async () => {
  const set = await selfParitySet(directory)
  const hiddenSize = 128
  const { layers } = await measureImage(directory, withTurned(set, 'image.layers', hiddenSize, hiddenSize))
  expect(layers[0]?.min).toBeGreaterThan(0.999998)
  expect(layers[1]?.min).toBeLessThan(-0.99)
  expect(layers[2]?.min).toBeGreaterThan(0.999998)
})

test('vectors without pictures or with other layers are refused', async () => {
  const set = await selfParitySet(directory)
  const without = new Map([...set.vectors].filter(([name]) => name !== 'pictures'))
  await expect(measureImage(directory, { ...set, vectors: without })).rejects.toThrow('--keep-pictures')
  const other = { ...set.vectors.get('text.layers')!, shape: [3, 4, 64] }
  const vectors = new Map([...set.vectors, ['text.layers', other]])
  await expect(measureText(directory, { ...set, vectors })).rejects.toThrow('text.layers: expected 3 inputs of 4 x 64')
})

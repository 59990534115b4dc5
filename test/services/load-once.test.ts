// One shared load: concurrent callers, failures, and the request that began it.

import { expect, test } from 'vitest'
import { createLoadOnce } from '../../src/services/load-once.ts'

test('loads once for concurrent callers and keeps the value', async () => {
  let loads = 0
  const load = createLoadOnce(async () => ++loads)
  const nobody = (): void => undefined
  await expect(Promise.all([load.get(nobody), load.get(nobody)])).resolves.toEqual([1, 1])
  await expect(load.get(nobody)).resolves.toBe(1)
})

test('tries again after a failure', async () => {
  let loads = 0
  const load = createLoadOnce(async () => {
    loads += 1
    if (loads === 1) throw new TypeError('first one fails')
    return loads
  })
  await expect(load.get(() => undefined)).rejects.toThrow('first one fails')
  await expect(load.get(() => undefined)).resolves.toBe(2)
})

test('loads again what was forgotten, and a failure of the forgotten load does not undo it', async () => {
  const settle: { resolve: (value: number) => void; reject: (error: Error) => void }[] = []
  const load = createLoadOnce(() => new Promise<number>((resolve, reject) => settle.push({ resolve, reject })))
  const first = load.get(() => undefined)
  load.forget()
  const second = load.get(() => undefined)
  settle[0]?.reject(new TypeError('forgotten'))
  await expect(first).rejects.toThrow('forgotten')
  expect(load.get(() => undefined)).toBe(second)
  settle[1]?.resolve(2)
  await expect(second).resolves.toBe(2)
})

test('keeps the load alive once, and the kept promise does not fail', async () => {
  const kept: Promise<unknown>[] = []
  const load = createLoadOnce(() => Promise.reject(new TypeError('no')))
  const both = [load.get((work) => kept.push(work)), load.get((work) => kept.push(work))]
  await expect(Promise.allSettled(both)).resolves.toHaveLength(2)
  expect(kept).toHaveLength(1)
  await expect(kept[0]).resolves.toBeUndefined()
})

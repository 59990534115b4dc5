// One shared load: concurrent callers, failures and pauses after them, and the request that began it.

import { beforeEach, describe, expect, test } from 'vitest'
import { LoadPausedError } from '../../src/errors.ts'
import { createLoadOnce, type LoadOnce } from '../../src/services/load-once.ts'

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

describe('with a back-off', () => {
  class CostlyError extends Error {}
  let nowMs: number
  let failure: Error | undefined
  let loads: number
  let load: LoadOnce<string>
  const get = (): Promise<string> => load.get(() => undefined)

  beforeEach(() => {
    nowMs = 1_000_000
    failure = new CostlyError('wrong bytes')
    loads = 0
    load = createLoadOnce(
      async () => {
        loads += 1
        if (failure !== undefined) throw failure
        return 'loaded'
      },
      { now: () => nowMs, isCostly: (error) => error instanceof CostlyError },
    )
  })

  async function failCostly(times: number): Promise<void> {
    for (let i = 0; i < times; i += 1) await expect(get()).rejects.toThrow(failure)
  }

  test('tries again at once after one costly failure, and refuses for 2 s after the second', async () => {
    await failCostly(2)
    await expect(get()).rejects.toMatchObject({
      code: 'model_load_paused',
      status: 503,
      retryAfterSeconds: 2,
      message: 'wrong bytes; loaded again in 2 s',
      cause: failure,
    })
    nowMs += 1_001
    await expect(get()).rejects.toMatchObject({ retryAfterSeconds: 1 })
    expect(loads).toBe(2)
    nowMs += 999
    failure = undefined
    await expect(get()).resolves.toBe('loaded')
  })

  test('doubles the pause up to 60 s', async () => {
    await failCostly(1)
    const pauses: unknown[] = []
    for (let i = 0; i < 7; i += 1) {
      await failCostly(1)
      const refusal: unknown = await get().catch((error: unknown) => error)
      const seconds = refusal instanceof LoadPausedError ? refusal.retryAfterSeconds : 0
      pauses.push(seconds)
      nowMs += seconds * 1000
    }
    expect(pauses).toEqual([2, 4, 8, 16, 32, 60, 60])
  })

  test('never pauses for a failure that cost nothing, and begins anew after one', async () => {
    const costly = failure
    failure = new TypeError('not there')
    for (let i = 0; i < 5; i += 1) await expect(get()).rejects.toThrow('not there')
    failure = costly
    await failCostly(1)
    failure = new TypeError('not there')
    await expect(get()).rejects.toThrow('not there')
    failure = costly
    await failCostly(2)
    await expect(get()).rejects.toThrow(LoadPausedError)
  })
})

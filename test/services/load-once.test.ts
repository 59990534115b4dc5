// One shared load: concurrent callers, failures and pauses after them, loads that never end, and the request that began it.

import { beforeEach, describe, expect, test } from 'vitest'
import { LoadPausedError } from '../../src/errors.ts'
import { createLoadOnce, type LoadAttempt, type LoadOnce } from '../../src/services/load-once.ts'

/** Turns of the event loop stand in for time. */
const nextTurn = (): Promise<unknown> => new Promise((resolve) => setImmediate(resolve))
const nobody = (): void => undefined

function createLoad<T>(load: (attempt: LoadAttempt) => Promise<T>, clock = { ms: 0 }): LoadOnce<T> {
  return createLoadOnce(load, { now: () => clock.ms, wait: nextTurn })
}

test('loads once for concurrent callers and keeps the value', async () => {
  let loads = 0
  const load = createLoad(async () => ++loads)
  await expect(Promise.all([load.get(nobody), load.get(nobody)])).resolves.toEqual([1, 1])
  await expect(load.get(nobody)).resolves.toBe(1)
})

test('tries again after a failure', async () => {
  let loads = 0
  const load = createLoad(async () => {
    loads += 1
    if (loads === 1) throw new TypeError('first one fails')
    return loads
  })
  await expect(load.get(nobody)).rejects.toThrow('first one fails')
  await expect(load.get(nobody)).resolves.toBe(2)
})

test('loads again what was forgotten, and a failure of the forgotten load does not undo it', async () => {
  const settle: { resolve: (value: number) => void; reject: (error: Error) => void }[] = []
  const load = createLoad(() => new Promise<number>((resolve, reject) => settle.push({ resolve, reject })))
  const first = load.get(nobody)
  load.forget()
  const second = load.get(nobody)
  settle[0]?.reject(new TypeError('forgotten'))
  await expect(first).rejects.toThrow('forgotten')
  const third = load.get(nobody)
  expect(settle).toHaveLength(2)
  settle[1]?.resolve(2)
  await expect(Promise.all([second, third])).resolves.toEqual([2, 2])
})

test('keeps the load alive once, and the kept promise does not fail', async () => {
  const kept: Promise<unknown>[] = []
  const load = createLoad(() => Promise.reject(new TypeError('no')))
  const both = [load.get((work) => kept.push(work)), load.get((work) => kept.push(work))]
  await expect(Promise.allSettled(both)).resolves.toHaveLength(2)
  expect(kept).toHaveLength(1)
  await expect(kept[0]).resolves.toBeUndefined()
})

describe('a load that never settles', () => {
  test('is given up after 30 s: who waits is told so, and the next caller loads anew', async () => {
    const clock = { ms: 0 }
    let loads = 0
    const load = createLoad(async () => ((loads += 1) === 1 ? await new Promise(() => undefined) : 'loaded'), clock)
    const waiting = [load.get(nobody), load.get(nobody)]
    clock.ms = 30_001
    for (const caller of waiting) {
      await expect(caller).rejects.toMatchObject({ code: 'model_unavailable', status: 503, retryAfterSeconds: 5 })
    }
    await expect(load.get(nobody)).resolves.toBe('loaded')
    expect(loads).toBe(2)
  })

  test('delays nobody who comes later', async () => {
    const clock = { ms: 0 }
    let loads = 0
    const load = createLoad(async () => ((loads += 1) === 1 ? await new Promise(() => undefined) : 'loaded'), clock)
    void load.get(nobody).catch(nobody)
    clock.ms = 30_001
    await expect(load.get(nobody)).resolves.toBe('loaded')
  })

  test('is one that lives as long as it asks whether it is wanted, however long it takes', async () => {
    const clock = { ms: 0 }
    let loads = 0
    const load = createLoad(async ({ isWanted }) => {
      loads += 1
      for (let piece = 0; piece < 9; piece += 1) {
        clock.ms += 20_000
        if (!isWanted()) throw new TypeError('given up')
        await nextTurn()
      }
      return 'slow'
    }, clock)
    await expect(Promise.all([load.get(nobody), load.get(nobody)])).resolves.toEqual(['slow', 'slow'])
    expect(loads).toBe(1)
  })

  test('learns that it was given up when it goes on after all, and changes nothing', async () => {
    const clock = { ms: 0 }
    const wakers: (() => void)[] = []
    const wanted: boolean[] = []
    const load = createLoad(async ({ isWanted }) => {
      const name = `load ${wakers.length + 1}`
      await new Promise<void>((wake) => wakers.push(wake))
      wanted.push(isWanted())
      return name
    }, clock)
    const first = load.get(nobody)
    clock.ms = 30_001
    const second = load.get(nobody)
    await expect(first).rejects.toMatchObject({ code: 'model_unavailable' })
    wakers[0]?.()
    await nextTurn()
    wakers[1]?.()
    await expect(second).resolves.toBe('load 2')
    expect(wanted).toEqual([false, true])
    await expect(load.get(nobody)).resolves.toBe('load 2')
  })
})

describe('with a back-off', () => {
  class CostlyError extends Error {}
  let nowMs: number
  let failure: Error | undefined
  let loads: number
  let load: LoadOnce<string>
  const get = (): Promise<string> => load.get(nobody)

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
      { now: () => nowMs, wait: nextTurn, isCostly: (error) => error instanceof CostlyError },
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

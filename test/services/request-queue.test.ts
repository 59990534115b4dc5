// The queue in front of an encoder: order, exclusion, the bound, and places that nobody gives back.

import { expect, test } from 'vitest'
import { OverloadedError } from '../../src/errors.ts'
import { createRequestQueue } from '../../src/services/request-queue.ts'

/** Turns of the event loop stand in for time. */
const nextTurn = (): Promise<unknown> => new Promise((resolve) => setImmediate(resolve))

function createQueue(maxPending: number, clock = { ms: 0 }): ReturnType<typeof createRequestQueue> {
  return createRequestQueue({ name: 'test', maxPending, now: () => clock.ms, wait: nextTurn })
}

test('runs tasks one at a time, in the order in which they came', async () => {
  const queue = createQueue(5)
  const events: string[] = []
  const task = (name: string) => async (): Promise<string> => {
    events.push(`${name} begins`)
    await nextTurn()
    await nextTurn()
    events.push(`${name} ends`)
    return name
  }
  await expect(Promise.all(['a', 'b', 'c'].map((name) => queue.run(task(name))))).resolves.toEqual(['a', 'b', 'c'])
  expect(events).toEqual(['a begins', 'a ends', 'b begins', 'b ends', 'c begins', 'c ends'])
})

test('refuses what comes when it is full and takes the next when a place is free again', async () => {
  const queue = createQueue(2)
  const running = [queue.run(() => 1), queue.run(() => 2)]
  await expect(queue.run(() => 3)).rejects.toThrow(OverloadedError)
  await expect(Promise.all(running)).resolves.toEqual([1, 2])
  await expect(queue.run(() => 4)).resolves.toBe(4)
})

test('gives the place back when a task fails', async () => {
  const queue = createQueue(1)
  await expect(queue.run(() => Promise.reject(new TypeError('broken')))).rejects.toThrow('broken')
  await expect(queue.run(() => 'fine')).resolves.toBe('fine')
})

test('a task that never ends loses its place after a minute, and those behind it go on', async () => {
  const clock = { ms: 0 }
  const queue = createQueue(2, clock)
  void queue.run(() => new Promise(() => undefined))
  await nextTurn()
  const behind = queue.run(() => 'went on')
  await expect(queue.run(() => 'too many')).rejects.toThrow(OverloadedError)
  clock.ms = 60_001
  await expect(behind).resolves.toBe('went on')
  await expect(queue.run(() => 'new')).resolves.toBe('new')
})

test('a wait longer than a minute costs nobody their place: still one at a time', async () => {
  const clock = { ms: 0 }
  const queue = createQueue(3, clock)
  const events: string[] = []
  const long = (name: string, endMs: number) => async (): Promise<void> => {
    events.push(`${name} begins`)
    clock.ms = endMs
    for (let turn = 0; turn < 5; turn++) await nextTurn()
    events.push(`${name} ends`)
  }
  await Promise.all([
    queue.run(long('a', 50_000)),
    queue.run(long('b', 80_000)),
    queue.run(() => void events.push('c')),
  ])
  expect(events).toEqual(['a begins', 'a ends', 'b begins', 'b ends', 'c'])
})

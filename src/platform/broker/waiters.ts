// Requests that are held until something happens. They live in memory alone: one that is lost with it is asked again.

/** More held requests than this are answered at once, as if their time were over. */
const MAX_WAITERS = 2_000

export interface Waiters<Key> {
  /** Fulfilled by the next wake() of the key, or after `ms`. */
  wait(key: Key, ms: number): Promise<void>
  wake(key: Key): void
}

export function createWaiters<Key>(): Waiters<Key> {
  const waiting = new Map<Key, Set<() => void>>()
  let count = 0
  return {
    wait(key, ms) {
      if (count >= MAX_WAITERS || ms <= 0) return Promise.resolve()
      return new Promise((settle) => {
        const others = waiting.get(key) ?? new Set()
        const stop = (): void => {
          clearTimeout(timer)
          others.delete(stop)
          if (others.size === 0 && waiting.get(key) === others) waiting.delete(key)
          count -= 1
          settle()
        }
        const timer = setTimeout(stop, ms)
        others.add(stop)
        waiting.set(key, others)
        count += 1
      })
    },
    wake(key) {
      for (const stop of waiting.get(key) ?? []) stop()
    },
  }
}

// A bounded first-come queue in front of work that owns the isolate while it runs.
// Holds no promise of another request: a request that the runtime cancels would never settle it, and everybody behind
// would wait for ever. Each waiter looks for its own turn instead, and a place nobody gave back expires.

import { OverloadedError } from '../errors.ts'

export interface RequestQueueOptions {
  /** Calls admitted at a time, the running one included. */
  maxPending: number
  /** Names the queue in the refusal. */
  name: string
  now: () => number
  /** Lets the event loop deliver other calls; resolves after about `delayMs`. */
  wait: (delayMs: number) => Promise<unknown>
}

export interface RequestQueue {
  /** @throws OverloadedError when `maxPending` calls are inside already */
  run<T>(task: () => T | Promise<T>): Promise<T>
}

// A call killed by the runtime (CPU limit, 30 s by default) never gives its place back; twice that is surely dead.
const PLACE_TTL_MS = 60_000
const POLL_MS = 2

export function createRequestQueue(options: RequestQueueOptions): RequestQueue {
  const places = new Map<symbol, number>()

  const dropExpired = (): void => {
    const oldest = options.now() - PLACE_TTL_MS
    for (const [place, seenAt] of places) if (seenAt < oldest) places.delete(place)
  }

  const isFirst = (place: symbol): boolean => {
    // Who asks is alive, however long the wait has been; setting a key that is there keeps its place in the order.
    if (places.has(place)) places.set(place, options.now())
    dropExpired()
    // A place that expired while its owner was alive must not wait for a turn that cannot come.
    return !places.has(place) || places.keys().next().value === place
  }

  return {
    async run(task) {
      dropExpired()
      if (places.size >= options.maxPending) {
        throw new OverloadedError(`${options.name} is busy: ${options.maxPending} calls are waiting already`)
      }
      const place = Symbol('place')
      places.set(place, options.now())
      try {
        // Encoding is synchronous: without this turn of the event loop further calls would wait unseen and uncounted.
        await options.wait(0)
        while (!isFirst(place)) await options.wait(POLL_MS)
        return await task()
      } finally {
        places.delete(place)
      }
    },
  }
}

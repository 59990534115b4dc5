// One shared load of something expensive: concurrent first callers wait for the same one, a failed one is tried again. Where
// failures cost as much as a success, the first is still retried at once, and longer and longer pauses follow the others.

import { LoadPausedError } from '../errors.ts'

/** Lets work outlive the request that began it. */
export type KeepAlive = (work: Promise<unknown>) => void

export interface LoadOnce<T> {
  /**
   * The value, loaded by whoever asks first; `keepAlive` is given the load when it begins.
   * @throws LoadPausedError during a pause, and whatever the load throws
   */
  get(keepAlive: KeepAlive): Promise<T>
  /** Drops the value, so that the next caller loads it again. */
  forget(): void
}

export interface BackOff {
  now: () => number
  /** Whether this failure cost as much as a load that succeeds. */
  isCostly: (error: unknown) => boolean
}

/** After the second costly failure in a row, and twice as long after each further one. */
const FIRST_PAUSE_MS = 2_000
const MAX_PAUSE_MS = 60_000

/** @param load makes the value; `keepAlive` is that of the caller who began it */
export function createLoadOnce<T>(load: (keepAlive: KeepAlive) => Promise<T>, backOff?: BackOff): LoadOnce<T> {
  let current: Promise<T> | undefined
  const pause = backOff === undefined ? undefined : createPause(backOff)
  return {
    get(keepAlive) {
      if (current !== undefined) return current
      const refusal = pause?.refusal()
      if (refusal !== undefined) return Promise.reject(refusal)
      const loading = load(keepAlive).catch((error: unknown) => {
        if (current === loading) current = undefined
        pause?.failed(error)
        throw error
      })
      current = loading
      // The caller sees the failure through its own await; the kept promise must not be reported a second time.
      keepAlive(loading.catch(() => undefined))
      return loading
    },
    forget() {
      current = undefined
    },
  }
}

interface Pause {
  failed(error: unknown): void
  refusal(): LoadPausedError | undefined
}

function createPause({ now, isCostly }: BackOff): Pause {
  let costlyFailures = 0
  let untilMs = 0
  let cause: unknown
  return {
    failed(error) {
      costlyFailures = isCostly(error) ? costlyFailures + 1 : 0
      if (costlyFailures < 2) return
      cause = error
      untilMs = now() + Math.min(FIRST_PAUSE_MS * 2 ** (costlyFailures - 2), MAX_PAUSE_MS)
    },
    refusal() {
      const remainingSeconds = Math.ceil((untilMs - now()) / 1000)
      if (remainingSeconds <= 0) return undefined
      const reason = cause instanceof Error ? cause.message : String(cause)
      return new LoadPausedError(`${reason}; loaded again in ${remainingSeconds} s`, remainingSeconds, { cause })
    },
  }
}

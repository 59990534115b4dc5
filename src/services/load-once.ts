// One shared load of something expensive: concurrent first callers wait for the same one, a failed one is tried again.
// Holds no promise of another request, for request-queue.ts's reason: who waits looks for the outcome, and a load that
// gives no sign of life is given up. Where failures cost as much as a success, longer and longer pauses follow them.

import { LoadPausedError, ModelUnavailableError } from '../errors.ts'

/** Lets work outlive the request that began it. */
export type KeepAlive = (work: Promise<unknown>) => void

export interface LoadAttempt {
  /** That of the caller who began it. */
  keepAlive: KeepAlive
  /**
   * Asking is the sign of life. False when this load was given up: another one may own by now whatever the two share,
   * so a load asks before each step that changes it.
   */
  isWanted: () => boolean
}

export interface LoadOnce<T> {
  /**
   * The value, loaded by whoever asks first; `keepAlive` is given the load when it begins.
   * @throws LoadPausedError during a pause, ModelUnavailableError when the load was given up, and whatever it throws
   */
  get(keepAlive: KeepAlive): Promise<T>
  /** Drops the value, so that the next caller loads it again. */
  forget(): void
}

export interface LoadOnceOptions {
  now: () => number
  /** Resolves after about `delayMs`. */
  wait: (delayMs: number) => Promise<unknown>
  /** Whether this failure cost as much as a load that succeeds; default: none does. */
  isCostly?: (error: unknown) => boolean
}

interface Running<T> {
  lastSignMs: number
  isGivenUp: boolean
  outcome: { value: T } | { error: unknown } | undefined
}

/**
 * The runtime kills a request that computes for 30 s, and what outlives its request by as much, without a word to
 * anybody; a load that lives gives a sign with every piece of a file.
 */
const MAX_SILENCE_MS = 30_000
const POLL_MS = 2
/** After the second costly failure in a row, and twice as long after each further one. */
const FIRST_PAUSE_MS = 2_000
const MAX_PAUSE_MS = 60_000

/** @param load makes the value */
export function createLoadOnce<T>(
  load: (attempt: LoadAttempt) => Promise<T>,
  { now, wait, isCostly = () => false }: LoadOnceOptions,
): LoadOnce<T> {
  let current: Running<T> | undefined
  const pause = createPause(now, isCostly)

  const begin = (keepAlive: KeepAlive): Running<T> => {
    const running: Running<T> = { lastSignMs: now(), isGivenUp: false, outcome: undefined }
    const isWanted = (): boolean => {
      running.lastSignMs = now()
      return !running.isGivenUp
    }
    const settle = (outcome: { value: T } | { error: unknown }): void => {
      running.outcome = outcome
      if ('value' in outcome || running.isGivenUp) return
      if (current === running) current = undefined
      pause.failed(outcome.error)
    }
    const onValue = (value: T): void => settle({ value })
    keepAlive(load({ keepAlive, isWanted }).then(onValue, (error: unknown) => settle({ error })))
    return running
  }

  const giveUpIfSilent = (running: Running<T>): void => {
    if (running.outcome !== undefined || now() - running.lastSignMs <= MAX_SILENCE_MS) return
    running.isGivenUp = true
    if (current === running) current = undefined
  }

  return {
    async get(keepAlive) {
      if (current !== undefined) giveUpIfSilent(current)
      const refusal = current === undefined ? pause.refusal() : undefined
      if (refusal !== undefined) throw refusal
      const running = (current ??= begin(keepAlive))
      while (running.outcome === undefined && !running.isGivenUp) {
        await wait(POLL_MS)
        giveUpIfSilent(running)
      }
      return valueOf(running)
    },
    forget() {
      current = undefined
    },
  }
}

function valueOf<T>({ isGivenUp, outcome }: Running<T>): T {
  if (isGivenUp || outcome === undefined) {
    const seconds = MAX_SILENCE_MS / 1000
    throw new ModelUnavailableError(`the load gave no sign of life for ${seconds} s; the next request begins a new one`)
  }
  if ('error' in outcome) throw outcome.error
  return outcome.value
}

interface Pause {
  failed(error: unknown): void
  refusal(): LoadPausedError | undefined
}

function createPause(now: LoadOnceOptions['now'], isCostly: (error: unknown) => boolean): Pause {
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

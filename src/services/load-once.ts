// One shared load of something expensive: concurrent first callers wait for the same one, a failed one is tried again.

/** Lets work outlive the request that began it. */
export type KeepAlive = (work: Promise<unknown>) => void

export interface LoadOnce<T> {
  /** The value, loaded by whoever asks first; `keepAlive` is given the load when it begins. */
  get(keepAlive: KeepAlive): Promise<T>
  /** Drops the value, so that the next caller loads it again. */
  forget(): void
}

/** @param load makes the value; `keepAlive` is that of the caller who began it */
export function createLoadOnce<T>(load: (keepAlive: KeepAlive) => Promise<T>): LoadOnce<T> {
  let current: Promise<T> | undefined
  return {
    get(keepAlive) {
      if (current !== undefined) return current
      const loading = load(keepAlive).catch((error: unknown) => {
        if (current === loading) current = undefined
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

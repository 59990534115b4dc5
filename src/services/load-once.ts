// One shared load of something expensive: concurrent first callers wait for the same one, a failed one is tried again.

/** Lets work outlive the request that began it. */
export type KeepAlive = (work: Promise<unknown>) => void

/** The value, loaded by whoever asks first; `keepAlive` is given the load when it begins. */
export type LoadOnce<T> = (keepAlive: KeepAlive) => Promise<T>

/** @param load makes the value */
export function createLoadOnce<T>(load: () => Promise<T>): LoadOnce<T> {
  let loading: Promise<T> | undefined
  return (keepAlive) => {
    if (loading === undefined) {
      loading = load().catch((error: unknown) => {
        loading = undefined
        throw error
      })
      // The caller sees the failure through its own await; the kept promise must not be reported a second time.
      keepAlive(loading.catch(() => undefined))
    }
    return loading
  }
}

// One shared load of something expensive: concurrent first callers wait for the same one, a failed one is tried again.

/**
 * @param load makes the value
 * @param keepAlive is given each load under way, so that it outlives the request that began it
 */
export function createLoadOnce<T>(load: () => Promise<T>): (keepAlive: (work: Promise<unknown>) => void) => Promise<T> {
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

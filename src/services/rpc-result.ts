// What a Worker-to-Worker call answers: the value, or the error as plain data, since an error's class does not
// survive the crossing.

import { AppError, InternalError, RemoteError, WorkerUnavailableError, type ErrorDetail } from '../errors.ts'

export type RpcResult<T> = { ok: true; value: T } | { ok: false; error: ErrorDetail }

/**
 * Runs one call and turns whatever it throws into data. An unforeseen error is told to `report` and crosses without
 * its text.
 */
export async function toRpcResult<T>(run: () => Promise<T>, report: (error: unknown) => void): Promise<RpcResult<T>> {
  try {
    return { ok: true, value: await run() }
  } catch (error) {
    if (error instanceof AppError) return { ok: false, error: error.toDetail() }
    report(error)
    return { ok: false, error: new InternalError('an inner service failed', { cause: error }).toDetail() }
  }
}

/**
 * Awaits a call of another Worker and returns its value.
 * @param worker the Worker's name, for the message
 * @throws RemoteError what the other side refused; WorkerUnavailableError when there was no answer at all
 */
export async function awaitRpc<T>(worker: string, call: PromiseLike<RpcResult<T>>): Promise<T> {
  let result: RpcResult<T>
  try {
    result = await call
  } catch (cause) {
    throw new WorkerUnavailableError(`the ${worker} Worker did not answer`, { cause })
  }
  if (result.ok) return result.value
  const { index } = result.error
  throw new RemoteError(result.error, index === undefined ? {} : { index })
}

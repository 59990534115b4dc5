// What every call of an inner Worker has around it: the queue, one log line, errors as data.

import { toRpcResult, type RpcResult } from '../services/rpc-result.ts'
import type { CallTrace } from '../services/inner-workers.ts'
import { createRequestQueue, type RequestQueue } from '../services/request-queue.ts'
import { readPositiveVar } from './positive-var.ts'

/** The queue of one isolate. @throws MisconfiguredError */
export function createIsolateQueue(name: string, maxPending: string): RequestQueue {
  return createRequestQueue({
    name,
    maxPending: readPositiveVar('MAX_QUEUE', maxPending),
    now: () => Date.now(),
    wait: (delayMs) => scheduler.wait(delayMs),
  })
}

/**
 * Runs one call to its end even when its caller has gone: a place in the queue must be given back.
 * @param items how many items the call carries, for the log
 */
export function answerCall<T>(
  ctx: ExecutionContext,
  call: { worker: string; trace: CallTrace; items: number },
  run: () => Promise<T>,
): Promise<RpcResult<T>> {
  const { worker, trace, items } = call
  const startedAt = performance.now()
  const answer = toRpcResult(run, (error) => logError(worker, error)).then((result) => {
    const ms = Math.round((performance.now() - startedAt) * 10) / 10
    const code = result.ok ? undefined : result.error.code
    const { requestId: id, traceparent } = trace
    console.log(JSON.stringify({ event: 'call', worker, id, traceparent, items, code, ms }))
    return result
  })
  ctx.waitUntil(answer)
  return answer
}

/** Runs a question about the Worker itself, which takes no place in the queue. */
export function answerQuestion<T>(ctx: ExecutionContext, worker: string, run: () => Promise<T>): Promise<RpcResult<T>> {
  const answer = toRpcResult(run, (error) => logError(worker, error))
  ctx.waitUntil(answer)
  return answer
}

function logError(worker: string, error: unknown): void {
  const text = error instanceof Error ? (error.stack ?? error.message) : String(error)
  console.log(JSON.stringify({ event: 'error', worker, error: text }))
}

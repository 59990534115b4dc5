// Errors across a Worker-to-Worker call.

import { expect, test } from 'vitest'
import { CorruptImageError, OverloadedError, RemoteError } from '../../src/errors.ts'
import { awaitRpc, toRpcResult } from '../../src/services/rpc-result.ts'

const silent = (): void => undefined

test('a refusal keeps its code, status, item and waiting time over the crossing', async () => {
  const corrupt = await toRpcResult(() => Promise.reject(new CorruptImageError('image: damaged', { index: 3 })), silent)
  const busy = await toRpcResult(() => Promise.reject(new OverloadedError('busy')), silent)
  const crossed = structuredClone({ corrupt, busy })
  await expect(awaitRpc('pixels', Promise.resolve(crossed.corrupt))).rejects.toMatchObject({
    code: 'corrupt_image',
    status: 422,
    index: 3,
  })
  await expect(awaitRpc('pixels', Promise.resolve(crossed.busy))).rejects.toMatchObject({
    code: 'overloaded',
    type: 'service_unavailable',
    retryAfterSeconds: 1,
  })
  await expect(awaitRpc('pixels', Promise.resolve(crossed.busy))).rejects.toThrow(RemoteError)
})

test('an unforeseen error is reported where it happened and crosses without its text', async () => {
  const reported: unknown[] = []
  const result = await toRpcResult(
    () => Promise.reject(new TypeError('pointer 0x1234')),
    (error) => reported.push(error),
  )
  expect(reported).toHaveLength(1)
  expect(JSON.stringify(result)).not.toContain('0x1234')
  await expect(awaitRpc('text encoder', Promise.resolve(result))).rejects.toMatchObject({ code: 'internal_error' })
})

test('a Worker that does not answer is a reason to wait, not a fault of the caller', async () => {
  await expect(awaitRpc('text encoder', Promise.reject(new Error('connection lost')))).rejects.toMatchObject({
    status: 503,
    code: 'worker_unavailable',
    retryAfterSeconds: 5,
  })
})

// What a finished job has answered: inline in its record, or, where it is long, an object in the bucket.

import { InternalError, ResponseTooLargeError } from '../errors.ts'
import type { JobRecord } from '../jobs/job.ts'
import type { ObjectStore } from '../jobs/ports.ts'
import { RESULT_OBJECT } from '../jobs/worker-protocol.ts'
import { MAX_ANSWER_BYTES } from './answer-size.ts'

/** @throws ResponseTooLargeError, InternalError when the object is gone */
export async function readResult(job: JobRecord, objects: ObjectStore): Promise<unknown> {
  if (job.result !== null) return job.result
  const output = job.outputs.find(({ name }) => name === RESULT_OBJECT)
  if (output === undefined) throw new InternalError(`job ${job.id} has succeeded without a result`)
  if (output.bytes > MAX_ANSWER_BYTES) {
    throw new ResponseTooLargeError(
      `the result has ${output.bytes} bytes, more than the ${MAX_ANSWER_BYTES} of an answer`,
    )
  }
  const object = await objects.get(output.key)
  if (object === undefined) throw new InternalError(`the result of job ${job.id} is gone`)
  const parsed: unknown = JSON.parse(await new Response(object.body).text())
  return parsed
}

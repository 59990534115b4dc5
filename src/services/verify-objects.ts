// Whether objects that a worker says it has written lie in the bucket as it says: length and hash of what is there now.

import { OutputMismatchError } from '../jobs/errors.ts'
import type { StoredObject } from '../jobs/job.ts'
import type { ObjectStore } from '../jobs/ports.ts'

/** A Worker may wait for six connections at a time. */
const PARALLEL_READS = 4

/** @throws OutputMismatchError naming the first object that is missing or another */
export async function verifyObjects(store: ObjectStore, objects: readonly StoredObject[]): Promise<void> {
  // One iterator shared by all: each takes the next object when it has read its last.
  const waiting = objects.values()
  const verifyInTurn = async (): Promise<void> => {
    for (const object of waiting) await verify(store, object)
  }
  await Promise.all(Array.from({ length: PARALLEL_READS }, verifyInTurn))
}

async function verify(store: ObjectStore, { name, key, bytes, sha256 }: StoredObject): Promise<void> {
  const found = await store.digest(key)
  if (found === undefined) throw new OutputMismatchError(`${name}: expected ${bytes} bytes in the bucket, found none`)
  if (found.bytes !== bytes) {
    throw new OutputMismatchError(`${name}: expected ${bytes} bytes in the bucket, found ${found.bytes}`)
  }
  if (found.sha256 !== sha256) {
    throw new OutputMismatchError(`${name}: expected SHA-256 ${sha256} in the bucket, found ${found.sha256}`)
  }
}

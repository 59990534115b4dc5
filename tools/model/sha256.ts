// Incremental SHA-256 for Node, the twin of src/platform/digest.ts.
import { createHash } from 'node:crypto'
import type { IncrementalDigest } from '../../src/flava/package-file.ts'

/** A fresh SHA-256, for one run of bytes. */
export function createSha256(): IncrementalDigest {
  const hash = createHash('sha256')
  return {
    async update(bytes) {
      hash.update(bytes)
    },
    async hex() {
      return hash.digest('hex')
    },
  }
}

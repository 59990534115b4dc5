// Incremental SHA-256 inside a Worker: crypto.DigestStream hashes while weights stream past, without holding them.
import type { IncrementalDigest } from '../flava/package-file.ts'

/** A fresh SHA-256, for one run of bytes. */
export function createSha256(): IncrementalDigest {
  const stream = new crypto.DigestStream('SHA-256')
  const writer = stream.getWriter()
  return {
    update: (bytes) => writer.write(bytes),
    async hex() {
      await writer.close()
      const digest = new Uint8Array(await stream.digest)
      return Array.from(digest, (byte) => byte.toString(16).padStart(2, '0')).join('')
    },
  }
}

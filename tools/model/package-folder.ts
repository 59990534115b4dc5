// A model package in a folder, as the source that the engine loads from; the twin of platform/assets-package.ts.
import { createReadStream, existsSync } from 'node:fs'
import { join } from 'node:path'
import { ModelUnavailableError } from '../../src/errors.ts'
import type { PackageSource } from '../../src/flava/package-source.ts'

const CHUNK_BYTES = 1024 * 1024

export function packageFolder(directory: string): PackageSource {
  return {
    async openConfig() {
      const path = join(directory, 'config.json')
      if (!existsSync(path)) throw new ModelUnavailableError(`config.json: expected it in ${directory}`)
      return streamFile(path)
    },
    open: async ({ name }) => streamFile(join(directory, name)),
  }
}

/** The bytes of a file as they are asked for; a file that cannot be read fails the stream. */
function streamFile(path: string): ReadableStream<Uint8Array> {
  const chunks = createReadStream(path, { highWaterMark: CHUNK_BYTES })[Symbol.asyncIterator]()
  return new ReadableStream<Uint8Array>({
    async pull(controller) {
      const next: IteratorResult<unknown> = await chunks.next()
      if (next.done === true) controller.close()
      else if (next.value instanceof Uint8Array) controller.enqueue(next.value)
    },
    async cancel() {
      await chunks.return?.()
    },
  })
}

// Which model is served, as its encoder describes it. The answer is kept, never the promise: a promise of a request
// that was cancelled would not settle for anyone.

import { ModelNotFoundError } from '../errors.ts'
import type { ModelManifest } from '../flava/manifest.ts'
import { awaitRpc } from './rpc-result.ts'
import type { TextEncoderWorker } from './inner-workers.ts'

export interface ModelCatalog {
  readonly ids: readonly string[]
  /** @throws ModelNotFoundError, WorkerUnavailableError */
  describe(id: string): Promise<ModelManifest>
  /** Drops what was kept, after an encoder turned out to hold another model than it described. */
  forget(): void
}

export function createModelCatalog(modelId: string, textEncoder: TextEncoderWorker): ModelCatalog {
  let known: ModelManifest | undefined
  return {
    ids: [modelId],
    async describe(id) {
      if (id !== modelId) {
        throw new ModelNotFoundError(`model: expected one of ${modelId}; GET /v1/models lists them`, { param: 'model' })
      }
      known ??= await awaitRpc('text encoder', textEncoder.describe())
      return known
    },
    forget() {
      known = undefined
    },
  }
}

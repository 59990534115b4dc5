// A model package as static files behind an assets binding: for packages whose files stay below 25 MiB each.
import { ModelPackageError, ModelUnavailableError } from '../errors.ts'
import type { PackageSource } from '../flava/package-source.ts'
import { inLargeChunks } from './large-chunks.ts'

export function assetsPackage(assets: Fetcher): PackageSource {
  return {
    readConfig: async () => new Uint8Array(await (await fetchFile(assets, 'config.json')).arrayBuffer()),
    async open({ name }) {
      const { body } = await fetchFile(assets, name)
      if (body === null) throw new ModelPackageError(`${name}: expected content, got none`)
      return inLargeChunks(body)
    },
  }
}

async function fetchFile(assets: Fetcher, file: string): Promise<Response> {
  // The host is never looked up; the binding takes the path.
  const response = await assets.fetch(`https://model/${file}`)
  if (response.ok) return response
  await response.body?.cancel()
  throw new ModelUnavailableError(`${file}: expected it in the model package, got status ${response.status}`)
}
